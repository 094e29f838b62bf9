"""Progress of long work: bars on a terminal, lines where nobody draws bars."""

import contextlib
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

FIRST, OFTEN, TICK = 2.0, 30.0, 1.0
"""Seconds to the first line, at least from line to line, and from one redrawing of bars to the next."""

COUNTED: ContextVar[bool] = ContextVar("COUNTED", default=False)
"""Whether bars count only, and somebody else says what they show."""

_BARS: "weakref.WeakSet[tqdm]" = weakref.WeakSet()
_BARS_LOCK = threading.Lock()


class Nowhere:
    """A file for bars that are not drawn."""

    def write(self, text: str) -> None:
        """Forget the text."""

    def flush(self) -> None:
        """Nothing is kept."""


def progress_bar(over: Iterable | None = None, *, progress: bool, **look: Any) -> "tqdm":
    """A bar over `over`, or over `total` in `look`, that is drawn after two seconds if `progress` says so, and then goes."""
    from tqdm import tqdm  # messages about bad input need not wait for it

    if COUNTED.get():
        look["file"] = Nowhere()
    bar = tqdm(over, **{"delay": FIRST, "leave": False, "disable": not progress} | look)
    with _BARS_LOCK:
        _BARS.add(bar)
    return bar


def running() -> "list[tqdm]":
    """The bars that are not done, the outermost first."""
    with _BARS_LOCK:  # another thread may just begin one
        bars = list(_BARS)
    return sorted((bar for bar in bars if not bar.disable), key=lambda bar: bar.start_t)


def words(seconds: float) -> str:
    """What there is to say of work that has taken so many seconds.

    >>> words(2.0), words(95.0)
    ('computing; what is compiled for the first time takes longer', 'computing for 1:35')
    """
    if seconds < OFTEN:
        return "computing; what is compiled for the first time takes longer"
    bars = "; ".join(map(_counted, running()))
    return f"computing for {_clock(seconds)}" + (f": {bars}" if bars else "")


def _counted(bar: "tqdm") -> str:
    """A bar in words, with the time that is left if it can be foretold."""
    about = f"{bar.desc.removesuffix(': ')}: " if bar.desc else ""
    text = about + f"{bar.n:,}" + (f" of {bar.total:,}" if bar.total else "") + bar.unit
    made, elapsed = bar.n - bar.initial, bar.format_dict["elapsed"]
    return f"{text}, about {_clock(elapsed / made * (bar.total - bar.n))} left" if bar.total and made > 0 else text


def _clock(seconds: float) -> str:
    """Minutes and seconds, and hours if there are any.

    >>> _clock(30.4), _clock(95), _clock(3700)
    ('0:30', '1:35', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def at_work(stream: TextIO, first: float = FIRST, often: float = OFTEN) -> Iterator[None]:
    """Let nobody wait for long work without a word: keep bars alive on a terminal; elsewhere, and without bars, write lines."""
    done, start, drawn = threading.Event(), time.monotonic(), stream.isatty()

    def speak() -> None:
        due = None
        while not done.wait(min(TICK, first)):
            passed = time.monotonic() - start
            if due is None and "jax" in sys.modules:  # until then there is only bad input to be found
                due = passed + first
            if drawn and running():
                redraw()
            elif due is not None and passed >= due:
                with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                    print("nqmjax:", words(passed), file=stream, flush=True)
                due = passed + max(often, passed / 10)

    token = COUNTED.set(not drawn)
    threading.Thread(target=speak, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        COUNTED.reset(token)


def redraw() -> None:
    """Draw the bars again that are old enough to be drawn, so that their clocks go on."""
    for bar in running():
        with bar.get_lock():  # a bar that ends is disabled first, and then wiped out under the lock
            if not bar.disable and bar.format_dict["elapsed"] >= bar.delay:
                bar.refresh(nolock=True)
