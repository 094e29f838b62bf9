"""The commands that a page in Markdown prints: they parse, and the files that they read are there by then."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from nqmjax.cli.app import app
from nqmjax.cli.examples import EXAMPLES

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(nqmjax [^`]*)`")
FILE = re.compile(r".+\.(csv|tsv|txt|json|toml|nc|npz|npy)")
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b|--help|\.\.\.")
WRITTEN = {
    "scaling": ["nqmjax-scaling.nc"],
    "schedule compare": ["nqmjax-schedules.nc"],
    "schedule optimize": ["nqmjax-plan.csv"],
    "batch-schedule": ["nqmjax-batch-schedule.csv"],
    "budget": ["nqmjax-budget.nc"],
    "fit": ["model.json"],
    "plan": ["nqmjax-run-plan.nc"],
    "pilot": ["nqmjax-pilot.nc", "nqmjax-pilot.csv"],
    "measure": ["nqmjax-measure.nc", "nqmjax-measure.csv"],
}
"""What commands write if no output is named."""


def printed_commands(text: str) -> Iterator[list[str]]:
    """The words after `nqmjax` of each command, in the order of the text; not of those with a placeholder, or for help."""
    text = FENCE.sub(lambda block: _in_ticks(block[2]) if block[1] == "sh" else "", text)
    for line in INLINE.findall(text):
        if not PLACEHOLDER.search(line) and line.split()[1:]:
            yield shlex.split(line)[1:]


def _in_ticks(block: str) -> str:
    lines = block.replace("\\\n", " ").splitlines()
    return "\n".join(f"`{line}`" for line in lines if line.startswith("nqmjax "))


def check_commands(text: str, there: set[str]) -> list[list[str]]:
    """Parse every command of a page, see that what it reads is among the files that are there, and return them all."""
    commands, there = list(printed_commands(text)), set(there)
    for words in commands:
        command, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
        assert callable(command), words
        output = next((Path(words[i + 1]) for i, word in enumerate(words) if word in ("-o", "--output")), None)
        fitted = [words[i + 1] for i, word in enumerate(words) if word == "--fit"]
        read = {word for word in words if FILE.fullmatch(word) and word not in (str(output), *fitted)}
        assert read <= there, f"{' '.join(words)}: {read - there} is not written before"
        there |= {*_written(words, output), *fitted}
    return commands


def _written(words: list[str], output: Path | None) -> set[str]:
    if words[0] == "example":
        return {one.file for key, one in EXAMPLES.items() if words[1:] in ([key], ["all"])}
    if output is not None:
        return {str(output.with_suffix(suffix)) for suffix in (".csv", ".json", ".nc")}
    named = [files for name, files in WRITTEN.items() if " ".join(words).startswith(name)]
    return {file for files in named for file in files}
