"""Readable failures: NumPy prints enough digits to tell two values apart."""

import numpy as np

np.set_printoptions(linewidth=120)
