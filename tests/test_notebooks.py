"""Every notebook runs as it stands, without warnings, and shows something."""

import itertools
from pathlib import Path

import jupytext
import nbclient
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.py"))

# What starts the kernel warns of its own ageing, differently from version to version.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning:(jupyter_client|jupyter_core|nbclient|zmq)")


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_a_figure_and_a_table(path, tmp_path):
    notebook = jupytext.read(path)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, startup_timeout=120, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/png" in kinds, "no figure"
    assert "text/html" in kinds, "no table"
    assert not [output.text for output in outputs if output.get("name") == "stderr" and "Warning" in output.text]
    assert not list(tmp_path.iterdir()), "it leaves files behind"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_opens_with_a_title_and_explains_every_cell(path):
    cells = jupytext.read(path).cells
    assert cells[0].source.startswith("# ")
    for before, cell in itertools.pairwise(cells):
        assert cell.cell_type == "markdown" or before.cell_type == "markdown", cell.source
