"""What is said of predictions that the runs hardly support."""

import numpy as np
from made_models import made_model

from nqmjax.cli.reports.cautions import run_cautions, table_cautions
from nqmjax.runs.predict import predict
from nqmjax.runs.settings import RunSchedule


def test_intervals_wider_than_a_factor_of_two():
    model = made_model("chinchilla", inflation=40.0)
    table = predict(model, 1e7, 64, 1000)
    ratio = float(table.upper[0] / table.lower[0])
    assert ratio > 2
    [line] = run_cautions(table.isel(run=0), model)
    assert f"the ends of the interval differ by a factor of {ratio:.3g}" in line
    assert run_cautions(predict(model, 1e7, 64, 1000, level=0.1).isel(run=0), model) == []
    assert "factor of 2): run 1" in table_cautions(table)[0]
    assert table_cautions(predict(model, 1e7, 64, 1000, level=0.1)) == []


def test_models_far_larger_than_any_seen():
    model = made_model("chinchilla")
    lines = run_cautions(predict(model, 3e12, 64, 1000, level=0.1).isel(run=0), model)
    assert lines == ["N is 1e4 times the largest of the runs fitted to: so far out this is the formula, not the runs"]


def test_many_runs_are_counted():
    model = made_model("chinchilla")
    sizes = np.full(30, 1e7)
    schedules = [RunSchedule("constant") if place % 2 else RunSchedule() for place in range(30)]
    lines = table_cautions(predict(model, sizes, 64, 1000, schedule=schedules))
    assert lines == ["Outside the runs fitted to (in schedule): 15 of 30 runs"]
    few = table_cautions(predict(model, [1e7, 1e9, 1e7], [64, 64, 5000], 1000))
    assert few == ["Outside the runs fitted to (in model size, batch size): runs 2, 3"]
