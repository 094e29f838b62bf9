"""Messages of errors for people at the command line: they name options where the library names arguments."""

import itertools
import re
from collections.abc import Container, Sequence

from cyclopts import App, CycloptsError, MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from nqmjax._tools import no_choice

WORDS = {
    "model_size": ("--N",),
    "family": ("--schedule", "--families"),
    "dimension": ("--dim",),
    "optimizer": ("--optimizers",),
    "power": ("--powers",),
    "batch_size": ("--batch-sizes",),
    "pieces": ("--steps",),
    "figure": ("NAME",),
    "name": ("NAME",),
    "client": ("--scheduler",),
    "total_examples": ("--examples",),
    "problems": ("--spectra",),
}
"""Options for arguments whose names are others, where the command has no option of the argument's own name."""

OUTPUT = "--output"
"""The option that names files to be written, where they have no names of their own."""

ARGUMENT = re.compile(r"^(the [a-z ]+ of )?([A-Za-z_][A-Za-z_.]*)(\[[\d, ]*\])?(?= (is|and) )")

NAMED = re.compile(r"(?<![\w./'\"-])[a-z]+(_[a-z]+)+(?![\w./'\"(\[=-])")
"""Arguments that a remedy names; what stands in quotes, or is a choice, is a name in a file or of a value."""


def message_of(error: Exception, app: App, arguments: Sequence[str]) -> str:
    """The message of an error on one line, with the options of the command that was called in the place of arguments."""
    if isinstance(error, CycloptsError):
        return _of_the_parser(error, app, arguments)
    text = re.sub(r"\bpass force=True \(--force on the command line\)", "pass --force", str(error))
    text = re.sub(r"\b\w+ \((--[a-z-]+) on the command line\)", r"\1", text)
    names = names_of(app, arguments)
    if text.startswith("path is "):
        return _given_by(text.removeprefix("path is "), names, arguments) + text.removeprefix("path")
    found = ARGUMENT.match(text)
    typed = {word.split("=")[0] for word in arguments}
    option = found and _option(found[2], names, typed)
    if found and option:
        of_a_plan = found[3] and "--plan" in typed and option not in typed
        start, end = (found.end(3), f"{text[found.start(2) : found.end(3)]} of --plan") if of_a_plan else (found.end(2), option)
        text = text[: found.start(2)] + end + text[start:]
    head, choose, choices = text.partition("choose from")
    return re.sub(NAMED, lambda name: _option(name[0], names, typed) or name[0], head) + choose + choices


def _of_the_parser(error: CycloptsError, app: App, arguments: Sequence[str]) -> str:
    """What is wrong with the words themselves: a command or an option that is unknown or missing, a word too many."""
    own, text = getattr(error, "msg", None), str(error)
    help_of = " ".join([app.name[0], *(error.command_chain or ()), "--help"])
    word = (error.unused_tokens or [""])[0]
    if isinstance(error, UnknownCommandError) and error.app is not None:
        commands = [name for name in error.app if name[0] != "-"]
        return f"Unknown option: {word}. See {help_of}" if word.startswith("-") else no_choice("the command", word, commands)
    if isinstance(error, UnusedCliTokensError):
        places = [name for name in names_of(app, arguments) if _is_place(name)]
        room = f"besides options it takes {' and '.join(places)}" if places else "it takes options only"
        return f"{word!r} is one word too many: {room}, see {help_of}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        typed = error.keyword or next((token.keyword for token in reversed(error.argument.tokens) if token.keyword), None)
        near = re.search(r"instead of (\S+)\?$", text)
        remedy = f"did you mean it with {near[1]}?" if near else f"see {help_of}"
        return f"{typed} has no value: give one, see {help_of}" if typed else f"{error.argument.name} is missing: {remedy}"
    return own if own and own.startswith("-") else text


def names_of(app: App, arguments: Sequence[str]) -> list[str]:
    """The options of the command that is called, `--batch-size`, and what it takes without one, `RUNS`."""
    _, apps, _ = app.parse_commands(arguments)
    return [name for argument in apps[-1].assemble_argument_collection() for name in argument.names]


def _given_by(text: str, names: Sequence[str], arguments: Sequence[str]) -> str:
    """What gave the path with which a message begins: the option before it, the place of a word without one, or the output."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    places = [name for name in names if _is_place(name)] or ["the file"]
    before = [
        before for before, word in itertools.pairwise(["", *words]) if text.startswith((f"{word}:", f"{word.rstrip('/')}/"))
    ]
    given = [OUTPUT if option == "-o" else option if option.startswith("-") else places[0] for option in before]
    if given and not (OUTPUT in given and "--force" in text):
        return given[0]
    return OUTPUT if OUTPUT in names else "the file"


def _is_place(name: str) -> bool:
    """Whether this is what a command takes without an option."""
    return name[0].isalpha() and name.isupper()


def _option(argument: str, names: Sequence[str], typed: Container[str] = ()) -> str | None:
    """The option that gives the argument, rather one that was typed, or the name of the place without one, or None."""
    name = argument.rpartition(".")[2]
    known = [one for one in (f"--{name.replace('_', '-')}", *WORDS.get(name, ()), name.upper()) if one in names]
    return next((one for one in known if one in typed), known[0] if known else None)
