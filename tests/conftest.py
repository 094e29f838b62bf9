"""Readable failures, and the strictest arithmetic: shapes and precisions that JAX would mend silently are errors."""

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
