"""The README: its code runs and prints what it says, its commands parse, its links lead somewhere."""

import dataclasses
import re
import shlex
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from code_blocks import run_blocks

import nqmjax
from nqmjax.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_blocks_print_what_the_text_says(tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    assert README.count("```python") >= 4
    namespace = run_blocks(README, "README.md")
    assert Path("curve.png").stat().st_size > 1000
    check_own_optimizer(namespace["AggMo"](0.3))
    check_spectrum_file(namespace["measured"])
    [heavy_ball_steps] = re.findall(r"which takes (\d+) updates", README)
    assert namespace["curve"].steps.sel(batch_size=1024).item() == pytest.approx(float(heavy_ball_steps), rel=0.03)


def check_own_optimizer(optimizer):
    """AggMo of Lucas et al. 2018: velocities `v' = beta v - g`, `theta' = theta + rate / 3 sum v'`."""
    problem, betas = nqmjax.from_spectrum([0.7], noise=0.0), np.array([0.0, 0.9, 0.99])
    theta, velocities, risks = 1.0, np.zeros(3), [0.35]
    for _ in range(50):
        velocities = betas * velocities - 0.7 * theta
        theta += 0.3 / 3 * velocities.sum()
        risks.append(0.35 * theta**2)
    np.testing.assert_allclose(nqmjax.risk_curve(problem, optimizer, 1, 50), risks, rtol=1e-9, atol=1e-12)


def check_spectrum_file(problem):
    """The file that the README shows is the problem that it then builds in Python."""
    [table] = re.findall(r"```text\n(eigenvalue.*?)```", README, re.DOTALL)
    Path("spectrum.csv").write_text(table)
    read = nqmjax.read_spectrum("spectrum.csv", irreducible=0.05)
    for field in dataclasses.fields(problem):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(problem, field.name))


def test_commands_parse():
    commands = re.findall(r"^(nqmjax .*)$|`(nqmjax [a-z].*?)`", README, re.MULTILINE)
    lines = {command for group in commands for command in group if command and "--help" not in command}
    assert len(lines) >= 5
    for line in lines:
        app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_links_and_names_exist():
    for target in re.findall(r"\]\((?!http)(.*?)\)", README):
        assert (ROOT / target).exists(), target
    table = README.split("## Questions and answers")[1].split("```python")[0]
    for name in re.findall(r"`([a-z]+_?[a-z]+_?[a-z]+)`", table):
        assert hasattr(nqmjax, name) or name in nqmjax.tune.__doc__, name


def test_figure_is_small():
    assert (ROOT / "docs" / "scaling.png").stat().st_size < 150_000
