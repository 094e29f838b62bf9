"""The site's pages: their code runs and prints what they say, and their links lead somewhere."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from code_blocks import run_blocks

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_blocks_print_what_the_page_says(path, tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    run_blocks(path.read_text(encoding="utf-8"), path.name)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!http|#)(.*?)(?:#.*?)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_blocks_that_lie_are_found():
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run_blocks("```python\nprint(1.5)\n```\n\n```text\n1.6\n```\n", "a page")
    with pytest.raises(AssertionError, match="does not say what it prints"):
        run_blocks("```python\nprint(1.5)\n```\n", "a page")
