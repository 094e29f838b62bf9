"""Readable failures, and the strictest arithmetic: shapes and precisions that JAX would mend silently are errors."""

import os
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

np.set_printoptions(linewidth=120)

KERNELS = ("runs", "nonlinear")
"""Folders whose tests call kernels, and the optimizers of others in them, that the package calls under its own settings."""

LONGEST = ("test_notebooks.py", "test_docs.py", "test_figures.py")
"""Files with the longest tests: they come first, so that what is left at the end can be shared out between processes."""

MOST_MAPS = 20_000
"""A process may have 65,530; compilers that get none more end it without a word."""

CACHE = {
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
"""What one process has compiled the others read: pytest's workers, the kernels of notebooks, commands run as processes."""


def pytest_configure(config):
    """Give the whole session one cache of compiled programs, empty at its start and gone at its end."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # one of the developer's, or this very one, seen by a worker
        return
    cache = tempfile.TemporaryDirectory(prefix="nqmjax-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(cache.cleanup)
    for name, value in (CACHE | {"jax_compilation_cache_dir": cache.name}).items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


NOTEBOOKS = ("02_which", "03_schedules", "04_budgets", "05_real_runs", "07_four_runs", "08_from_a_network")
LONG_ONES = (
    *(f"random_cells[{kind}" for kind in ("AggMo", "Averaged Averaged", "Averaged P", "Averaged Q", "Preconditioned")),
    *(f"adversarial_cells[{kind}" for kind in ("Averaged", "Preconditioned")),
    "figures/test_figures.py::test_paper_figures_are_computed_drawn_and_written",
    "schedules/test_search.py::",
    "schedules/test_plan.py::test_gradients_of_fifty_pieces",
    "_tools/test_devices.py::test_four_devices",
    *(f"a_figure_and_a_table[{name}" for name in NOTEBOOKS),
)
"""Tests that only the job `.ci/long` runs, with the long pages: the suite would take too long for every change."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if os.environ.get("NQMJAX_TESTS") != "all":
        skip = pytest.mark.skip(reason="a long one: NQMJAX_TESTS=all runs it, as .ci/long does")
        for item in items:
            if any(name in item.nodeid for name in LONG_ONES):
                item.add_marker(skip)


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Forget the compiled programs of earlier files before Linux runs out of memory maps, of which each has some ten."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(autouse=True, scope="module")
def strict_arithmetic(request):
    folders = request.path.relative_to(request.config.rootpath / "tests").parts
    strict = folders[0] not in KERNELS
    with (
        jax.numpy_rank_promotion("raise" if strict else "allow"),
        jax.numpy_dtype_promotion("strict" if strict else "standard"),
    ):
        yield
