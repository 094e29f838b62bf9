"""The README: its code runs and prints what it says, its commands parse, its links lead somewhere, and it is one page."""

import operator
import re
from pathlib import Path

import matplotlib as mpl
from code_blocks import run_blocks
from commands import check_commands

import nqmjax
from nqmjax.cli.examples import EXAMPLES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_blocks_print_what_the_text_says(tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    assert "```python" in README
    run_blocks(README, "README.md")
    assert Path("curve.png").stat().st_size > 1000


def test_commands_parse():
    assert len(check_commands(README, there={one.file for one in EXAMPLES.values()})) >= 15


def test_links_and_names_exist():
    for target in re.findall(r"\]\((?!http)(.*?)\)", README):
        assert (ROOT / target).exists(), target
    [table] = re.findall(r"\| Question .*?\n\n", README, re.DOTALL)
    for name in re.findall(r"`([a-z_.]+)`", table):
        assert operator.attrgetter(name.removeprefix("nqmjax."))(nqmjax), name


def test_it_is_one_page():
    assert len(README.splitlines()) <= 100


def test_figure_is_small():
    assert (ROOT / "docs" / "scaling.png").stat().st_size < 150_000
