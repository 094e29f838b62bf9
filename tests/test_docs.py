"""The site's pages: their code runs and prints what they say, their commands parse, their links lead somewhere."""

import os
import re
from pathlib import Path

import matplotlib as mpl
import pytest
from code_blocks import run_blocks
from commands import check_commands, printed_commands

from nqmjax.cli import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TEXTS = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in PAGES}


LONG = {
    "optimizers.md",
    *(f"questions/{name}.md" for name in ("adam", "adamw_batch", "large_batch_gradients", "layer_rates", "loss_noise")),
    *(f"questions/{name}.md" for name in ("measure", "pilot")),
}
"""Pages whose blocks take some seconds each, which a job of its own runs, `.ci/long`."""


def test_blocks_print_what_the_pages_say(tmp_path, monkeypatch):
    """All pages in one test: they are about the same problem, so that little is compiled twice."""
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    assert set(TEXTS) > LONG
    for name, text in TEXTS.items():
        if name not in LONG or os.environ.get("NQMJAX_TESTS") == "all":
            run_blocks(text, name)


@pytest.mark.parametrize("name", TEXTS)
def test_commands_parse_and_find_their_files(name):
    check_commands(TEXTS[name], there=set())


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if "nqmjax example" in text])
def test_commands_that_write_examples_work_as_printed(name, tmp_path, monkeypatch):
    """The others would take too long; the tests of the command line run them on smaller problems."""
    monkeypatch.chdir(tmp_path)
    for words in printed_commands(TEXTS[name]):
        if words[0] == "example":
            assert main(words) == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!http|#)(.*?)(?:#.*?)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_every_page_is_in_the_site():
    named = re.findall(r"^[\w/]+$", "\n".join(re.findall(r"```{toctree}\n(.*?)```", "".join(TEXTS.values()), re.DOTALL)), re.M)
    pages = {name.removesuffix(".md") for name in TEXTS} - {"index"}
    assert pages == {name for name in pages if name in named or name.removeprefix("questions/") in named}


def test_figures_are_small():
    for path in (DOCS / "_static").glob("*"):
        assert path.suffix == ".png"
        assert path.stat().st_size < 60_000, path


def test_pages_that_lie_are_found():
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        run_blocks("```python\nprint(1.5)\n```\n\n```text\n1.6\n```\n", "a page")
    with pytest.raises(AssertionError, match="does not say what it prints"):
        run_blocks("```python\nprint(1.5)\n```\n", "a page")
    with pytest.raises(AssertionError, match="is not written before"):
        check_commands("```sh\nnqmjax fit runs.csv\nnqmjax example runs\n```\n", there=set())
    with pytest.raises(Exception, match="Unknown option"):
        check_commands("`nqmjax scaling --no-such-option 1`", there=set())
