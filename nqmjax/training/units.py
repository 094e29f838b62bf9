"""Runs that are trained together, and all of them on all cores, each kept as soon as it has ended."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context

from nqmjax._tools import on_all_cores, precision, progress_bar
from nqmjax.training.lockstep import WIDTHS, Kind, Lanes
from nqmjax.training.methods import Method, fingerprint
from nqmjax.training.race import Race
from nqmjax.training.store import Store
from nqmjax.training.task import MEASURES, Task

Runs = dict[str, np.ndarray]
"""Runs of one optimizer, batch size and seed: `values`, shape `(rates, updates, measures)`, and `end`, shape `(rates,)`."""

Key = tuple[str, int, int]
"""Label of the optimizer, batch size, seed."""


class Unit(NamedTuple):
    """Runs of one optimizer and batch size that are trained together.

    Args:
      label, method: the optimizer.
      batch_size: examples per update.
      seeds: of the runs; there is one of each seed and rate.
      rates: shape `(r,)`.
      grid: updates at which losses are recorded.
    """

    label: str
    method: Method
    batch_size: int
    seeds: tuple[int, ...]
    rates: np.ndarray
    grid: np.ndarray

    def cell(self) -> dict[str, Any]:
        """By what one tells whether saved runs are these."""
        rates, grid = self.rates.tolist(), self.grid.tolist()
        return {"learning rates": rates, "updates": grid, "first updates of its optimizer": list(fingerprint(self.method))}

    def parts(self) -> list["Unit"]:
        """Units of about as many runs as one block holds."""
        size = max(WIDTHS[-1] // self.rates.size, 1)
        return [self._replace(seeds=self.seeds[first : first + size]) for first in range(0, len(self.seeds), size)]


class Rules(NamedTuple):
    """What all runs of an experiment have in common; see `experiment`."""

    sampling: str
    target: float | None
    goal: str
    slack: float | None
    lag: float | None
    evaluation: int | None

    def data(self, task: Task) -> tuple[Any, Any, Any]:
        """All examples, those on which the training loss is measured, and those held out, on the device."""
        number = task.count if self.evaluation is None else min(self.evaluation, task.count)
        some = np.arange(task.count) if number == task.count else np.random.default_rng(0).permutation(task.count)[:number]
        check = jax.tree.map(lambda array: array[some], task.data)
        return jax.tree.map(jnp.asarray, (task.data, check, () if task.held_out is None else task.held_out))

    def race(self, task: Task, unit: Unit, seeds: np.ndarray) -> Race:
        """The race of a unit's runs."""
        return Race(
            unit.grid,
            seeds,
            len(task.measures),
            self.target,
            goal=task.measures.index(self.goal),
            rises=self.goal == MEASURES[2],
            slack=self.slack,
            lag=self.lag,
        )


def train(task: Task, rules: Rules, units: list[Unit], store: Store | None, progress: bool) -> dict[Key, Runs]:
    """Train all units on all cores; an interrupt leaves those that have ended in the store."""
    stopped, lock = threading.Event(), threading.Lock()
    total = sum(len(unit.seeds) * unit.rates.size for unit in units)
    with progress_bar(total=total, desc="train", unit=" runs", progress=progress) as bar:

        def tick(count: int) -> None:
            if count:
                with lock:
                    bar.update(count)

        with _settings():
            data = rules.data(task)

        def one(unit: Unit) -> dict[Key, Runs]:
            with _settings():
                race = _run(task, rules, unit, data, tick, stopped)
            return {} if stopped.is_set() else _kept(unit, race, store)

        found: dict[Key, Runs] = {}
        try:
            for part in on_all_cores(one, units):
                found |= part
        finally:
            stopped.set()
    return found


def _settings() -> Any:
    """The settings of JAX for training, whatever the caller's, of this thread."""
    stack = contextlib.ExitStack()
    for setting in (precision("float32"), jax.default_matmul_precision("highest"), eval_context()):
        stack.enter_context(setting)
    return stack


def _run(task: Task, rules: Rules, unit: Unit, data: Any, tick: Callable[[int], None], stopped: threading.Event) -> Race:
    """Run a unit to its end; `tick` is told how many runs have ended, `stopped` that nobody waits any more."""
    seeds, rates = np.repeat(unit.seeds, unit.rates.size), np.tile(unit.rates, len(unit.seeds))
    kind = Kind(unit.method, unit.batch_size, rules.sampling)
    runs, race = Lanes(task, kind, rates, seeds, data), rules.race(task, unit, seeds)
    live, before = np.arange(seeds.size), 0
    for place, update in enumerate(unit.grid.tolist()):
        race.record(place, live, runs.advance(live, before, update))
        tick(live.size - int(race.running.sum()))
        live, before = np.flatnonzero(race.running), update
        if stopped.is_set() or not live.size:
            break
    tick(live.size)
    return race


def _kept(unit: Unit, race: Race, store: Store | None) -> dict[Key, Runs]:
    """The runs of each seed, in the store too."""
    found = {}
    for seed in unit.seeds:
        here = race.seeds == seed
        found[unit.label, unit.batch_size, seed] = {"values": race.values[here], "end": race.end[here]}
        if store is not None:
            store.save(unit.label, unit.batch_size, seed, unit.cell(), found[unit.label, unit.batch_size, seed])
    return found


def specification(task: Task, rules: Rules, spacing: float) -> Mapping[str, Any]:
    """By what one tells whether saved runs are of the same experiment."""
    return {**task.fingerprint, **rules._asdict(), "spacing": spacing}
