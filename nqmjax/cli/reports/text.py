"""Text for a terminal of 80 columns: paragraphs, tables, numbers, and what a report is about."""

import contextvars
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

WIDTH = 80
GAP = "   "

ABOUT = {"problem": "Problem", "optimizer": "Optimizer", "rate_units": "Rates", "laws": "Laws", "command": "Command"}
"""Attributes of a table that a report repeats, and their titles."""

COMMAND: contextvars.ContextVar[str] = contextvars.ContextVar("COMMAND", default="")
"""The command under way as one types it; empty where there is none."""


def set_command(arguments: Sequence[str]) -> None:
    """Remember the command under way, for reports and files."""
    COMMAND.set(shlex.join(["nqmjax", *arguments]))


def with_command(table: Any) -> Any:
    """The table with the command that made it among its attributes."""
    return table.assign_attrs(command=COMMAND.get())


def wrap(text: str, first: str = "") -> str:
    """A paragraph of at most 80 columns after its title `first`, below which it hangs.

    >>> print(wrap("word " * 16, "Title: "))
    Title: word word word word word word word word word word word word word word
           word word
    """
    options: dict[str, Any] = {"break_on_hyphens": False, "break_long_words": True}
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), **options)


def about(attributes: Mapping[str, Any]) -> str:
    """The problem, the optimizer, the units of the rates and the command, each in a paragraph."""
    given = {title: str(attributes[name]) for name, title in ABOUT.items() if attributes.get(name)}
    width = max(map(len, ABOUT.values())) + 2
    return "\n".join(wrap(text, f"{title}:".ljust(width)) for title, text in given.items())


def report(heading: str, attributes: Mapping[str, Any], *parts: str) -> str:
    """A heading, what it is about, and parts with an empty line between them."""
    return "\n\n".join([wrap(heading), about(attributes), *(part for part in parts if part)])


class Block(NamedTuple):
    """Columns under one heading; all blocks of a table have the same number of rows."""

    heading: str
    columns: list[list[str]]

    def lines(self) -> list[str]:
        """The block's lines, the heading first."""
        widths = [max(map(len, column)) for column in self.columns]
        rows = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in self.rows()]
        width = max(len(self.heading), len(rows[0]))
        return [self.heading.center(width).rstrip().ljust(width), *(row.rjust(width) for row in rows)]

    def rows(self) -> list[tuple[str, ...]]:
        """The cells by rows."""
        return list(zip(*self.columns, strict=True))

    def narrow(self, width: int) -> list["Block"]:
        """The block in parts of some of its columns, each as wide as allowed if more than one column is left."""
        parts: list[Block] = []
        for column in self.columns:
            wider = Block(self.heading, [*parts[-1].columns, column]) if parts else None
            if wider is not None and len(wider.lines()[0]) <= width:
                parts[-1] = wider
            else:
                parts.append(Block(self.heading, [column]))
        return parts


def side_by_side(labels: Sequence[str], blocks: Sequence[Block], width: int = WIDTH, gap: str = GAP) -> str:
    """Blocks beside each other under one column of labels, and below each other where the width ends."""
    label_width = max(map(len, labels))
    left = ["".ljust(label_width), *(label.ljust(label_width) for label in labels)]
    lines, chunks = left, []
    narrow = [part for block in blocks for part in block.narrow(width - label_width - len(gap))]
    for block in narrow:
        wider = [a + gap + b for a, b in zip(lines, block.lines(), strict=True)]
        if len(wider[0]) > width and lines is not left:
            chunks.append(lines)
            wider = [a + gap + b for a, b in zip(left, block.lines(), strict=True)]
        lines = wider
    return "\n\n".join("\n".join(line.rstrip() for line in chunk) for chunk in [*chunks, lines])


def columns_text(first: str, labels: Sequence[str], columns: Mapping[str, Sequence[str]]) -> str:
    """A plain table: a column of labels and others, each under its heading, which may have several lines.

    >>> print(columns_text("rule", ["none", "linear"], {"rate\\ntimes": ["1", "8"], "loss": ["0.5", "0.25"]}))
              rate
    rule     times   loss
    none         1    0.5
    linear       8   0.25
    """
    headings = [heading.split("\n") for heading in [first, *columns]]
    height = max(map(len, headings))
    top, *tops = ([*[""] * (height - len(lines)), *lines] for lines in headings)
    blocks = [Block("", [[*lines, *cells]]) for lines, cells in zip(tops, columns.values(), strict=True)]
    wide, close = (side_by_side([*top, *labels], blocks, gap=gap) for gap in (GAP, GAP[:-1]))
    chunks = (wide if "\n\n" not in wide else close).split("\n\n")
    return "\n\n".join(chunk.split("\n", 1)[1] for chunk in chunks)


def left(name: str, cells: Sequence[str]) -> dict[str, list[str]]:
    """A column whose heading and cells stand at the left."""
    width = max(map(len, [*name.split("\n"), *cells]))
    return {"\n".join(line.ljust(width) for line in name.split("\n")): [cell.ljust(width) for cell in cells]}


def lines_of(items: Iterable[str]) -> str:
    """Paragraphs below each other."""
    return "\n".join(wrap(item) for item in items)


def batch_text(batch_size: float) -> str:
    """A batch size, as a power of two where it is one, up to rounding, and that is shorter.

    >>> batch_text(4096 * (1 + 1e-15)), batch_text(1), batch_text(48)
    ('2^12', '1', '48')
    """
    exponent = np.log2(float(f"{batch_size:.10g}"))
    return f"2^{exponent:.0f}" if exponent == round(exponent) and exponent >= 1 else f"{batch_size:.10g}"


def count_text(steps: float) -> str:
    """A number of updates: all its digits if there are not too many."""
    return f"{steps:.0f}" if steps < 1e8 else f"{steps:.4e}".replace("e+0", "e").replace("e+", "e")
