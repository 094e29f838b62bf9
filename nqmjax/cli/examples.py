"""Small files for the examples of the help and the documentation; all of them made up, from formulas and fixed seeds."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nqmjax._tools import check_choice, check_output, write_atomically

MADE_UP = "made up by nqmjax example, not measured"


class Example(NamedTuple):
    """A file: its name, what is in it, a command that reads it, and its text."""

    file: str
    about: str
    command: str
    text: Callable[[], str]


def table(about: str, header: str, rows: list[str]) -> str:
    """A table in CSV that says in its first line what it is."""
    return "\n".join([f"# {about}; {MADE_UP}", header, *rows]) + "\n"


def spectrum() -> str:
    """Twenty groups of directions whose curvature falls as a power of their number."""
    rows = []
    for group in range(20):
        first, last = round(1.6**group), round(1.6 ** (group + 1))
        curvature = 4.0 * first**-1.1
        rows.append(f"{curvature:.6g},{max(last - first, 1)},{0.5 * curvature:.6g},{min(1.0, 0.1 * first**0.3):.4g}")
    return table("Eigenvalues of a loss and the directions of each", "eigenvalue,count,noise,initial", rows)


def observed() -> str:
    """Steps of two methods, S = S_min (1 + B_crit / B), with 5% of noise."""
    draw, rows = random.Random(0), []
    for label, least, critical in (("SGD", 8000, 25), ("momentum", 1500, 150)):
        for batch_size in (4, 16, 64, 256, 1024):
            steps = least * (1 + critical / batch_size) * draw.gauss(1, 0.05)
            rows.append(f"{label},{batch_size},{steps:.0f}")
    return table("Updates to a loss of 0.15", "label,batch_size,steps", rows)


def tuned_runs() -> str:
    """Tuned updates and rates of AdamW by the anchored law, p = 1.2, with 3% of noise and 10% of the rates."""
    draw, rows = random.Random(1), []
    for batch_size in (64, 128, 256, 512, 1024):
        bend = 1 + (1800 / batch_size) ** 1.2
        steps, rate = 2400 * bend ** (1 / 1.2) * draw.gauss(1, 0.03), 2e-3 * bend ** (-0.5 / 1.2) * draw.gauss(1, 0.1)
        rows.append(f"{batch_size},{steps:.0f},{rate:.3g}")
    return table("Updates of AdamW to a loss of 3.2, and the rates tuned for it", "batch_size,steps,learning_rate", rows)


def noise_log() -> str:
    """Square norms |G|^2 + tr C / B of one device of 32 examples and the mean of eight, |G|^2 falling 40-fold, 8% of noise."""
    draw, rows = random.Random(0), []
    for step in range(0, 8000, 50):
        square, variance = 4.0 * 40.0 ** -(step / 8000), 900.0 * 2.0 ** -(step / 8000)
        for batch_size in (32, 256):
            rows.append(f"{step},{batch_size},{(square + variance / batch_size) * draw.gauss(1, 0.08):.4f}")
    return table("Squares of gradient norms: of one device, and of the mean of eight", "step,batch,square_norm", rows)


def runs() -> str:
    """Losses L = 1.7 + 250 N^-0.34 + 8 (K / (1 + 64 / B))^-0.28, with 0.5% of noise, at four budgets of compute."""
    draw, rows = random.Random(0), []
    for budget, size, batch_size in itertools.product((1e11, 4e11, 1.6e12, 6.4e12), (1e6, 3e6, 1e7), (32, 128, 512)):
        steps = round(budget / size / batch_size)
        if 100 <= steps <= 30_000:
            loss = (1.7 + 250 * size**-0.34 + 8 * (steps / (1 + 64 / batch_size)) ** -0.28) * draw.gauss(1, 0.005)
            rows.append(f"{size:.0f},{batch_size},{steps},{loss:.4f},0.001,cosine,0.01")
    return table("Training runs: parameters, batch size, updates", "N,B,K,loss,learning_rate,schedule,warmup", rows)


def questions() -> str:
    """Runs that nobody has made."""
    return table("Runs to be predicted", "N,B,K", [f"{size},{batch},{steps}" for size, batch, steps in QUESTIONS])


def times() -> str:
    """Seconds of a step: 20 ms and 2e-11 s for each parameter times example."""
    pairs = itertools.product((1e6, 1e7, 1e8), (32, 128, 512))
    rows = [f"{size:.0f},{batch},{0.02 + 2e-11 * size * batch:.5f}" for size, batch in pairs]
    return table("Seconds of a step", "N,B,seconds", rows)


def plan() -> str:
    """A warm-up, a constant rate and a cooldown."""
    return table(
        "A plan in pieces", "steps,learning_rate,batch_size", ["100,0.25,64", "1500,0.5,64", "200,0.25,64", "200,0.1,64"]
    )


def grid() -> str:
    """A sweep."""
    return GRID


QUESTIONS = ((3_000_000, 128, 20_000), (10_000_000, 256, 20_000), (30_000_000, 256, 40_000))
GRID = """\
# A sweep of heavy ball over rates and momenta, for nqmjax sweep.
batch_size = "2^4..2^12:4"
target = 0.05

[problem]
dim = 1000
bins = 50

[optimizer]
name = "heavy_ball"
learning_rate = { logspace = [-3, 1, 30] }
momentum = { one_minus_logspace = [-3, 0, 10] }
"""

EXAMPLES = {
    "spectrum": Example("spectrum.csv", "a spectrum", "nqmjax scaling --spectrum spectrum.csv --target 0.15", spectrum),
    "observed": Example(
        "observed.csv",
        "steps that were counted",
        "nqmjax scaling --spectrum spectrum.csv --target 0.15 --observed observed.csv",
        observed,
    ),
    "tuned-runs": Example(
        "tuned-runs.csv", "tuned runs", "nqmjax transfer tuned-runs.csv --optimizer adamw --to 2048 4096", tuned_runs
    ),
    "noise-log": Example("noise-log.csv", "norms of gradients", "nqmjax noise-scale noise-log.csv", noise_log),
    "grid": Example("grid.toml", "a sweep", "nqmjax sweep grid.toml", grid),
    "plan": Example("plan.csv", "a plan", "nqmjax schedule transfer --plan plan.csv --to 256", plan),
    "runs": Example("runs.csv", "training runs", "nqmjax fit runs.csv", runs),
    "ask": Example("ask.csv", "runs to be predicted", "nqmjax predict model.json --runs ask.csv", questions),
    "times": Example("times.csv", "seconds of a step", "nqmjax plan model.json --seconds 3600 --step-table times.csv", times),
}


def example(name: str | None, force: bool) -> None:
    """`nqmjax example`: list the files, or write one or all of them here."""
    if name is None:
        width = max(map(len, EXAMPLES))
        for key, one in EXAMPLES.items():
            print(f"{key:{width}}  {one.file}: {one.about}\n{'':{width}}  {one.command}\n")
        print(f"nqmjax example NAME writes one here, nqmjax example all writes all;\nthey are {MADE_UP}.")
        return
    check_choice("name", name, [*EXAMPLES, "all"])
    chosen = EXAMPLES.values() if name == "all" else [EXAMPLES[name]]
    there = [one.file for one in chosen if Path(one.file).is_file()]
    which = "is" if len(there) == 1 else "are"
    if there and not force:
        raise ValueError(f"{', '.join(there)} {which} there already: give --force to replace what is there")
    for one in chosen:
        check_output(one.file, force)
    for one in chosen:
        text = one.text()
        write_atomically(one.file, lambda path, text=text: Path(path).write_text(text, encoding="utf-8"), force)
        print(f"Written: {one.file}, {one.about}; try\n  {one.command}")
