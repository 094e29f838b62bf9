"""Readable failures, and the strictest arithmetic: shapes and precisions that JAX would mend silently are errors.

What one process has compiled the others take from a cache: workers, notebooks and commands run much of the same.
"""

import os
from pathlib import Path

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jax
import numpy as np
import pytest

np.set_printoptions(linewidth=120)

KERNELS = ("runs", "nonlinear")
"""Folders whose tests call kernels, and the optimizers of others in them, that the package calls under its own settings."""


@pytest.fixture(autouse=True, scope="module")
def strict_arithmetic(request):
    folders = request.path.relative_to(request.config.rootpath / "tests").parts
    strict = folders[0] not in KERNELS
    with (
        jax.numpy_rank_promotion("raise" if strict else "allow"),
        jax.numpy_dtype_promotion("strict" if strict else "standard"),
    ):
        yield
