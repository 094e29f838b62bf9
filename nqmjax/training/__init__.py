"""Small networks trained for real, many runs in lock step: loss curves, steps to a target, tuned curves."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.training.data import Split, digits, text
    from nqmjax.training.experiment import experiment
    from nqmjax.training.forecast import forecast, habits_of
    from nqmjax.training.methods import Method, method
    from nqmjax.training.pilot import pilot
    from nqmjax.training.task import Task
    from nqmjax.training.tasks import autoencoder, cnn, linear_regression, linearized, mlp, transformer
    from nqmjax.training.tuned import steps, tuned, tuned_runs

exports(
    __name__,
    public={
        "task": ["Task"],
        "tasks": ["mlp", "cnn", "autoencoder", "transformer", "linear_regression", "linearized"],
        "data": ["digits", "text", "Split"],
        "methods": ["method", "Method"],
        "experiment": ["experiment"],
        "tuned": ["steps", "tuned", "tuned_runs"],
        "pilot": ["pilot"],
        "forecast": ["forecast"],
    },
    internal={"forecast": ["habits_of"]},
)
