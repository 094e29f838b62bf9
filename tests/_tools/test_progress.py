"""Progress where no terminal draws bars, and on one."""

import io
import threading

import pytest

from nqmjax._tools import COUNTED, at_work, progress_bar
from nqmjax._tools.progress import running, words


class Lines(io.StringIO):
    """A stream that tells when the text that is waited for has been written."""

    def __init__(self, terminal, text):
        super().__init__()
        self.terminal, self.text, self.seen = terminal, text, threading.Event()

    def isatty(self):
        return self.terminal

    def write(self, text):
        count = super().write(text)
        if self.text in self.getvalue():
            self.seen.set()
        return count


def test_bars_in_words():
    with progress_bar(total=12, desc="tune", unit=" curves", progress=True, file=io.StringIO()) as outer:
        outer.set_description("sgd, power 0")
        with progress_bar(total=2000, initial=500, desc="tune", unit=" cells", progress=True, file=io.StringIO()) as inner:
            assert words(95.0) == "computing for 1:35: sgd, power 0: 0 of 12 curves; tune: 500 of 2,000 cells"
            inner.update(500)
            assert words(95.0).startswith(
                "computing for 1:35: sgd, power 0: 0 of 12 curves; tune: 1,000 of 2,000 cells, about "
            )
    with progress_bar(desc="plans", unit=" plans", progress=False):
        assert words(3700.0) == "computing for 1:01:40"
    assert running() == []


@pytest.mark.parametrize("terminal", [False, True])
def test_long_work_is_never_without_a_word(terminal, capsys):
    stream = Lines(terminal, "nqmjax: computing; what is compiled for the first time takes longer\n")
    with at_work(stream, first=1e-3):
        assert COUNTED.get() != terminal
        assert stream.seen.wait(20)
    assert not COUNTED.get()
    assert stream.getvalue().count("\n") == 1
    assert capsys.readouterr() == ("", "")


def test_bars_are_counted_where_nobody_draws_them(capsys):
    stream = Lines(False, "computing")
    with at_work(stream, first=1e-3), progress_bar(range(3), delay=0, progress=True) as bar:
        assert stream.seen.wait(20)
        assert [len(running()) for _ in bar] == [1, 1, 1]
    assert capsys.readouterr() == ("", "")


def test_bars_on_a_terminal_are_kept_alive():
    stream = Lines(True, "0/3")
    drawn = Lines(True, "0/3")
    with progress_bar(total=3, delay=1e-9, progress=True, file=drawn, ncols=60), at_work(stream, first=1e-3):
        assert drawn.seen.wait(20)
    assert "computing" not in stream.getvalue()
