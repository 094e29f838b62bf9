"""Readable failures, and the strictest arithmetic: shapes and precisions that JAX would mend silently are errors."""

import jax
import numpy as np
import pytest

np.set_printoptions(linewidth=120)

KERNELS = ("runs", "nonlinear")
"""Folders whose tests call kernels, and the optimizers of others in them, that the package calls under its own settings."""

LONGEST = ("test_notebooks.py", "test_docs.py", "test_figures.py")
"""Files with the longest tests: they come first, so that what is left at the end can be shared out between processes."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True, scope="module")
def strict_arithmetic(request):
    folders = request.path.relative_to(request.config.rootpath / "tests").parts
    strict = folders[0] not in KERNELS
    with (
        jax.numpy_rank_promotion("raise" if strict else "allow"),
        jax.numpy_dtype_promotion("strict" if strict else "standard"),
    ):
        yield
