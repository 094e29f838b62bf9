"""The root of the command line: its help, its commands by name, and what an error becomes.

A command is imported when it is called, and itself imports little: folders of nqmjax load their files when they are used.
So help, and most messages about bad input, come at once.
"""

import _thread
import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from nqmjax import __version__
from nqmjax._tools import at_work, cache_by_environment, forget
from nqmjax.cli.messages import message_of, names_of
from nqmjax.cli.reports import set_command

EPILOGUE = """\
Examples:

  nqmjax scaling                           the main job on its built-in problem
  nqmjax scaling --help                    its options, with examples
  nqmjax figure 3a                         a figure of Zhang et al. 2019
  nqmjax sweep grid.toml -o grid.nc        a grid of your own
  nqmjax schedule compare --batch-size 64 --steps 17000
                                           cosine, linear or WSD?
  nqmjax budget --epochs 40 --dataset-size 50000
                                           best rate and loss by batch size
  nqmjax transfer tuned-runs.csv --optimizer adamw --to 1024 4096
                                           your recipe at other batch sizes
  nqmjax measure --model my_module:make    a spectrum from a network of your own
  nqmjax pilot --model my_module:make --target 0.1
                                           its updates and rates by batch size
  nqmjax example                           files to try the commands with
  nqmjax fit runs.csv                      a model of real training runs
  nqmjax predict model.json --N 1e9 --B 512 --K 2e4
                                           the loss of a run, with an interval
  nqmjax plan model.json --compute 1e14    how large a model, how large a batch?

What is compiled is kept in your cache directory, at most 512 MB of it, and need
not be compiled again. NQMJAX_CACHE=DIRECTORY in the environment names another;
NQMJAX_CACHE=off, or --no-cache with any command, does without.

Exit codes: 0 done, 2 bad input (one line on stderr says what), 130 interrupted.
"""

NO_CACHE = "--no-cache"

app = App(
    name="nqmjax",
    help="Which optimizer, at which batch size, with which schedule? Exact answers of the noisy quadratic model.",
    help_format="plaintext",
    help_epilogue=EPILOGUE,
    version=__version__,
    suppress_keyboard_interrupt=False,
)

COMMANDS = {
    "scaling": "Tuned updates to a target loss against batch size, for several optimizers.",
    "figure": "A figure of Zhang et al. 2019 or another paper, computed exactly or from training runs.",
    "sweep": "Exact updates to a target loss over a grid of hyperparameters and batch sizes.",
    "store check": "Whether every file of a store of a sweep is whole.",
    "store best": "The best settings in a store of a sweep, which may still be growing.",
    "schedule compare": "Cosine, linear or WSD? Final loss of schedule families, each at its best.",
    "schedule optimize": "The best possible plan, piece by piece.",
    "schedule transfer": "Batch times k: what rate, and how many steps? A recipe under each rule.",
    "batch-schedule": "When to raise the batch, and by how much: the best batch sizes for given rates.",
    "budget": "Best loss and best rate against batch size, for so many epochs or so many steps.",
    "transfer": "Batch times k in your own units: rate, updates and cost, from a few tuned runs.",
    "noise-scale": "The batch size at which noise and gradient matter alike, from a log of gradient norms.",
    "fit": "Fit a model of the loss to training runs, with intervals that are checked.",
    "predict": "The loss of training runs that nobody has made yet, with intervals.",
    "plan": "Which model size, batch size and number of updates, under these limits?",
    "compare-models": "Which law predicts runs that were left out best?",
    "measure": "Curvature, gradient noise and noise scales of a network of your own.",
    "pilot": "From a network of your own to its curve: a few runs, and updates and rates at any batch size.",
    "example": "Files to try the commands with: list them, or write one into this directory.",
}
"""Each command, `nqmjax.cli.commands.NAME:command`, and its line in the lists of commands, the first of its own help."""

GROUPS = {
    "schedule": "Learning-rate schedules: compare families, find the best plan, move one to another batch.",
    "store": "Sweeps that are stored on disk chunk by chunk: check them, ask them.",
}

for group, about in GROUPS.items():
    app.command(App(name=group, help=about, help_format="plaintext"))
for words, about in COMMANDS.items():
    *above, name = words.split()
    place = f"nqmjax.cli.commands.{words.replace(' ', '_').replace('-', '_')}"
    (app[above[0]] if above else app).command(f"{place}:command", name=name, help=about)


KEPT = "what is finished stays in the store, and the same command goes on from there"
"""What becomes of a sweep with a store."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    typed = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # the process is ours
        _choose_cache(typed)
    typed = [word for word in typed if word != NO_CACHE]
    words = _as_before(typed)
    try:
        set_command(typed)
        _describe(words)
        with _messages_for_people(), at_work(sys.stderr) if arguments is None else contextlib.nullcontext():
            app(words, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value")
            sys.stdout.flush()
            if list(words) != list(typed):
                _note(ONE_RUN)
    except (CycloptsError, ValueError) as error:
        return _fail(2, message_of(error, app, words))
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(2, f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail(130, f"interrupted; {KEPT if _kept(words) else 'nothing was written'}")
        if arguments is None:  # XLA's threads may still be at work, and crash if the interpreter is taken apart under them
            os._exit(130)
        return 130
    return 0


def _kept(words: Sequence[str]) -> bool:
    """Whether the command keeps what it has, piece by piece."""
    return any(word.split("=", 1)[0] in ("--store", "--spectra") for word in words)


def _choose_cache(words: Sequence[str]) -> None:
    """Keep what this process compiles, unless it is not to or cannot be."""
    if NO_CACHE in words:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    elif not {"--help", "-h", "--version"}.intersection(words) and (why := cache_by_environment()):
        print(f"nqmjax: note: compiled programs are not kept, {why}", file=sys.stderr)


RECIPE = {"--batch-size", "--learning-rate", "--steps"}
"""A recipe that says nothing of what was measured."""
ONE_RUN = "without tuned runs or a noise scale this is nqmjax schedule transfer, the answer of a noisy quadratic"


def _as_before(words: Sequence[str]) -> Sequence[str]:
    """`transfer` of a recipe, without what was measured, is `schedule transfer`, which once had its name."""
    if list(words[:1]) != ["transfer"]:
        return words
    typed = {word.split("=")[0] for word in words if word.startswith("-")} - {"--help", "-h"}
    here, there = ({*names_of(app, chain)} for chain in (["transfer"], ["schedule", "transfer"]))
    measured = bool(typed & here - there) or (len(words) > 1 and not words[1].startswith("-"))
    if measured or not (typed & there - here or typed >= RECIPE):
        return words
    return ["schedule", *words]


def _describe(words: Sequence[str]) -> None:
    """Let the command that is called have its own help, of which the lists of commands show the first line."""
    names, apps, _ = app.parse_commands(words)
    for name, called in zip(names, apps[1:], strict=True):
        if name not in GROUPS and not name.startswith("-"):
            called.help = None


def _fail(code: int, message: str) -> int:
    print("nqmjax:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code


def _note(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning; of those about the cache only the first that says that it cannot be written."""
    text = str(message)
    if forget(text):
        return
    if text.startswith("Error writing persistent compilation cache entry"):
        warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
        text = f"compiled programs are not kept, {text.rpartition('Error: ')[2]}"
    print("nqmjax: note:", text, file=sys.stderr)


@contextlib.contextmanager
def _messages_for_people() -> Iterator[None]:
    """Show warnings as messages, not as places in the code; deliver an interrupt again that a callback has swallowed."""
    usual = sys.unraisablehook

    def unraisable(event: Any) -> None:
        if issubclass(event.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            usual(event)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _note
        sys.unraisablehook = unraisable
        try:
            yield
        finally:
            sys.unraisablehook = usual
