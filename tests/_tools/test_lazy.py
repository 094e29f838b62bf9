"""Folders give their names when they are used: whatever was imported before, and nothing earlier."""

import importlib
import subprocess
import sys

import pytest

import nqmjax


def python(code):
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_folders_are_loaded_when_they_are_used():
    python(
        "import sys, nqmjax\n"
        "assert 'jax' not in sys.modules and 'nqmjax.schedules' not in sys.modules\n"
        "assert nqmjax.schedules.cosine(0.1, 100, 8).total_steps == 100\n"
        "assert 'nqmjax.runs.fit' not in sys.modules\n"
    )


def test_a_function_with_the_name_of_its_file_is_the_function():
    python(
        "import nqmjax.runs.fit, nqmjax.scaling.tune, nqmjax\n"
        "assert callable(nqmjax.runs.fit) and nqmjax.scaling.tune is nqmjax.tune\n"
        "from nqmjax.runs import fit\n"
        "assert fit is nqmjax.runs.fit\n"
    )


@pytest.mark.parametrize("folder", ["nqmjax", "nqmjax.schedules", "nqmjax.runs", "nqmjax.figures", "nqmjax._tools"])
def test_every_name_is_there_and_shown(folder):
    module = importlib.import_module(folder)
    assert set(module.__all__) <= set(dir(module))
    for name in [*module.__all__, *module._home]:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=rf"module '{folder}' has no attribute 'fitt'"):
        module.fitt  # noqa: B018


def test_subpackages_are_shown():
    assert {"schedules", "runs", "figures"} <= set(dir(nqmjax))
