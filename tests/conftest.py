"""Readable failures, and the strictest arithmetic: shapes and precisions that JAX would mend silently are errors."""

import jax
import numpy as np

np.set_printoptions(linewidth=120)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
