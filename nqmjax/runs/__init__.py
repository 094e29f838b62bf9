"""Real training runs: tables of them, laws fitted to them, predictions with intervals, plans under limits."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.runs.critical_batches import critical_batch_sizes
    from nqmjax.runs.files import ALIASES, MAX_LOSS, read, read_settings
    from nqmjax.runs.fit import compare_models, fit
    from nqmjax.runs.law_predictions import sum_error
    from nqmjax.runs.laws import CANDIDATES, LAWS, Chinchilla, QuadraticLaw, law_inputs, scale_of
    from nqmjax.runs.limits import Limits, StepTable, StepTime, check_limits
    from nqmjax.runs.model_files import read_model, write_model
    from nqmjax.runs.one_law import FittedLaw, fit_law, identification
    from nqmjax.runs.plan import RunPlan, plan
    from nqmjax.runs.predict import RunModel, mean_log_losses, predict
    from nqmjax.runs.settings import RunSchedule, RunSettings, run_settings
    from nqmjax.runs.study import check_starts
    from nqmjax.runs.table import Runs, make

exports(
    __name__,
    public={
        "settings": ["RunSchedule", "RunSettings", "run_settings"],
        "table": ["Runs", "make"],
        "files": ["read", "read_settings"],
        "fit": ["fit", "compare_models"],
        "predict": ["predict", "RunModel"],
        "limits": ["Limits", "StepTime", "StepTable"],
        "plan": ["plan"],
        "critical_batches": ["critical_batch_sizes"],
        "model_files": ["write_model", "read_model"],
        "one_law": ["fit_law", "identification", "FittedLaw"],
        "laws": ["Chinchilla", "scale_of", "QuadraticLaw", "LAWS"],
    },
    internal={
        "files": ["ALIASES", "MAX_LOSS"],
        "law_predictions": ["sum_error"],
        "laws": ["CANDIDATES", "law_inputs"],
        "limits": ["check_limits"],
        "plan": ["RunPlan"],
        "predict": ["mean_log_losses"],
        "study": ["check_starts"],
    },
    packages=["laws"],
)
