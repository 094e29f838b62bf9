"""Draws the figures of the pages anew, mostly by their commands: `python docs/figures.py [NAME ...]`, into `docs/_static/`."""

import contextlib
import os
import shlex
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import optax
from PIL import Image

from nqmjax import SGD, HeavyBall, monte_carlo, power_law, risk_curve
from nqmjax.cli import main

HERE = Path(__file__).parent.resolve()
LARGEST = 60_000
"""Bytes of a figure; that of the front page may have twice as many."""

SPECTRUM = "--spectrum spectrum.csv --target 0.15 --observed observed.csv"
COMMANDS = {
    "scaling": ("nqmjax-scaling", "scaling"),
    "spectrum": ("mine", f"scaling {SPECTRUM} --optimizers sgd heavy_ball --powers 0 --fixed momentum=0.9 -o mine"),
    "adam": ("nqmjax-scaling", "scaling --optimizers sgd adam sign --powers 0 0.5 --batch-sizes 2^0..2^20:4"),
    "schedules": ("nqmjax-schedules", "schedule compare --batch-size 64 --steps 17000"),
    "ramp": ("nqmjax-plan", "schedule optimize --batch-size 64 --steps 17000 --ramp"),
    "budget": ("nqmjax-budget", "budget --epochs 40 --dataset-size 50000"),
    "measure": ("nqmjax-measure", "measure"),
    "forecasts": ("model-curves", "fit runs.csv"),
    "real_training": ("figure-5", "figure 5"),
}
"""Of each figure, the file that a command writes, and the command."""


def by_command(name: str) -> None:
    """The figure that a command draws, in a folder with the files of `nqmjax example`."""
    file, command = COMMANDS[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for words in ("example all", command):
            if main(shlex.split(words)):
                raise ValueError(f"{words} failed")
        shrink(Path(f"{file}.png"), name)


def sampling() -> None:
    """Adam, sampled, and SGD and heavy ball, exact."""
    problem, steps = power_law(100), 200
    figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    adam = monte_carlo(problem, optax.adam(0.03), batch_size=64, num_steps=steps, num_seeds=100, key=0)
    axes.semilogy(adam.risk, label="Adam, rate 0.03 (mean of 100 runs)")
    axes.semilogy(risk_curve(problem, SGD(0.5), 64, steps), "--", label="SGD, rate 0.5")
    axes.semilogy(risk_curve(problem, HeavyBall(0.3, 0.9), 64, steps), "-.", label="heavy ball, rate 0.3, momentum 0.9")
    axes.set(xlabel="updates", ylabel="loss", title="100 directions of curvature 1/i, batch size 64")
    axes.legend()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sampling.png")
        figure.savefig(path, dpi=160)
        shrink(path, "sampling")


def shrink(source: Path, name: str) -> None:
    """Keep a copy of fewer pixels and colours, enough to tell the lines apart."""
    width = {"scaling": 1600, "adam": 750}.get(name, 900)
    scale, path = (2, HERE / "scaling.png") if name == "scaling" else (1, HERE / "_static" / f"{name}.png")
    with Image.open(source) as image:
        image = image.convert("RGB")
        image.thumbnail((width, 4000), Image.Resampling.LANCZOS)
        image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    size = os.path.getsize(path)
    if size > scale * LARGEST:
        raise ValueError(f"{path} has {size} bytes: make it smaller than {scale * LARGEST}")
    print(f"{path}: {size} bytes")


if __name__ == "__main__":
    mpl.use("agg")
    for chosen in sys.argv[1:] or [*COMMANDS, "sampling"]:
        sampling() if chosen == "sampling" else by_command(chosen)
