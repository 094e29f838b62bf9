"""When runs in lock step end: they have arrived, have diverged, can no longer win, or have made all their updates."""

import enum

import numpy as np

EXPLODED = 1000.0
"""Training loss over that at the start from which a run has diverged."""

EARLY = 16
"""Updates before which no run is told to lag."""


class End(enum.IntEnum):
    """How a run ended."""

    ARRIVED = 0
    """It reached the target at which runs end."""
    OVERTAKEN = 1
    """Another rate of its seed had arrived, and it was too late to come near."""
    DIVERGED = 2
    """Its training loss became infinite, or a thousand times that of the start."""
    OUT_OF_STEPS = 3
    """It made all its updates."""


class Race:
    """Curves of runs in lock step and who is still running.

    Args:
      grid: updates at which losses are recorded, the first of them 0, shape `(k,)`.
      seeds: of each run, shape `(l,)`; runs of one seed race each other.
      measures: number of measures; the first is the training loss.
      target: value of the measure `goal` at which a run has arrived, None if none does.
      goal: number of that measure; `rises` says whether it is one that should rise.
      slack: runs go on for so many times the updates of the first one of their seed that arrived; None for no limit.
      lag: runs end whose training loss another one of their seed had after so many times fewer updates; None for no such end.
    """

    def __init__(
        self,
        grid: np.ndarray,
        seeds: np.ndarray,
        measures: int,
        target: float | None = None,
        *,
        goal: int = 0,
        rises: bool = False,
        slack: float | None = None,
        lag: float | None = None,
    ) -> None:
        self.grid, self.seeds, self.target, self.goal, self.rises = grid, seeds, target, goal, rises
        self.slack, self.lag = slack, lag
        self.values = np.full((seeds.size, grid.size, measures), np.nan, np.float32)
        self.end = np.full(seeds.size, End.OUT_OF_STEPS, np.int8)
        self.running = np.ones(seeds.size, bool)
        self.arrived = np.full(seeds.size, np.inf)

    def record(self, place: int, live: np.ndarray, found: np.ndarray) -> None:
        """Note what these runs measure at this place of the grid, and let those end that should."""
        diverged = ~np.isfinite(found[:, 0])
        self.values[live, place] = np.where(np.isfinite(found), found, np.inf)
        first = self.values[live, 0, 0]
        diverged |= found[:, 0] > EXPLODED * np.maximum(first, np.finfo(np.float32).tiny)
        self._finish(live[diverged], End.DIVERGED)
        if self.target is not None:
            there = found[:, self.goal] >= self.target if self.rises else found[:, self.goal] <= self.target
            self.arrived[live[there & ~diverged]] = self.grid[place]
            self._finish(live[there & ~diverged], End.ARRIVED)
        if self.slack is not None:
            limit = self.slack * self._best(self.arrived)
            self._finish(np.flatnonzero(self.running & (self.grid[place] >= limit)), End.OVERTAKEN)
        if self.lag is not None and self.grid[place] >= EARLY:
            before = np.searchsorted(self.grid, self.grid[place] / self.lag, "right")
            then = self._best(np.nanmin(self.values[:, :before, 0], axis=1))
            self._finish(np.flatnonzero(self.running & (self.values[:, place, 0] > then)), End.OVERTAKEN)

    def _best(self, values: np.ndarray) -> np.ndarray:
        """For every run the smallest value of those of its seed."""
        best = {seed: values[self.seeds == seed].min() for seed in np.unique(self.seeds)}
        return np.array([best[seed] for seed in self.seeds])

    def _finish(self, lanes: np.ndarray, how: End) -> None:
        self.end[lanes], self.running[lanes] = how, False
