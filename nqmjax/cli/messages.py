"""Messages of errors for people at the command line: they name options where the library names arguments."""

import itertools
import re
from collections.abc import Sequence

from cyclopts import App, CycloptsError

WORDS = {
    "model_size": "--N",
    "family": "--schedule",
    "dimension": "--dim",
    "optimizer": "--optimizers",
    "power": "--powers",
    "batch_size": "--batch-sizes",
    "pieces": "--steps",
    "figure": "NAME",
    "name": "NAME",
    "client": "--scheduler",
    "total_examples": "--examples",
}
"""Options for arguments whose names are others, where the command has no option of the argument's own name."""

ARGUMENT = re.compile(r"^(the [a-z ]+ of )?([A-Za-z_][A-Za-z_.]*)(?=(\[[\d, ]*\])? (is|and) )")


def message_of(error: Exception, app: App, arguments: Sequence[str]) -> str:
    """The message of an error on one line, with the options of the command that was called in the place of arguments."""
    if isinstance(error, CycloptsError):
        own = getattr(error, "msg", None)
        return own if own and own.startswith("-") else str(error)
    text = re.sub(r"\bpass force=True \(--force on the command line\)", "pass --force", str(error))
    text = re.sub(r"\b\w+ \((--[a-z-]+) on the command line\)", r"\1", text)
    for option, word in itertools.pairwise(arguments):
        if option.startswith("-") and text.startswith(f"path is {word}:"):
            return option + text.removeprefix("path")
    found = ARGUMENT.match(text)
    option = found and _option(found[2], _options(app, arguments))
    return text[: found.start(2)] + option + text[found.end(2) :] if found and option else text


def _options(app: App, arguments: Sequence[str]) -> list[str]:
    """The options of the command that is called."""
    _, apps, _ = app.parse_commands(arguments)
    return [name for argument in apps[-1].assemble_argument_collection() for name in argument.names]


def _option(argument: str, options: Sequence[str]) -> str | None:
    """The option that gives the argument, or None."""
    name = argument.rpartition(".")[2]
    for candidate in (f"--{name.replace('_', '-')}", WORDS.get(name, "")):
        if candidate in options:
            return candidate
    return None
