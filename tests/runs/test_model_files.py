"""Models as files: what is written comes back bit for bit, and what is damaged is named."""

import dataclasses
import json
import math

import numpy as np
import pytest
import xarray as xr
from made_models import SETTINGS, made_model

from nqmjax.runs import Limits, plan
from nqmjax.runs.laws.baselines import Chinchilla
from nqmjax.runs.model_files import read_model, write_model
from nqmjax.runs.predict import predict
from nqmjax.runs.settings import RunSchedule

SCORES = xr.Dataset(
    {
        "budget_out": ("law", [1e-4, math.nan, 1 / 3]),
        "score": ("law", [math.nan] * 3),
        "parameters": ("law", [5, 5, 10]),
        "members": ("law", ["chinchilla", "kaplan", "chinchilla, kaplan"]),
    },
    coords={"law": ["chinchilla", "kaplan", "ensemble"]},
    attrs={"units": "mean squared errors of the log loss", "runs": 48, "folds": 7},
)
SLOW = RunSchedule("wsd", 0.1, (("cooldown", 1 / 3), ("shape", "linear")))


def whole_model():
    columns = {"scores": SCORES, "schedules": (SLOW, RunSchedule()), "summary": ("48 runs", "2 excluded")}
    model = made_model("chinchilla", "kaplan", learning_rate=1 / 3, **columns)
    unknown = {"laplace": model.intervals["laplace"]._replace(coverage=math.nan, bare_coverage=math.nan)}
    return dataclasses.replace(model, intervals={**model.intervals, **unknown})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.json"
    write_model(whole_model(), path)
    return path


@pytest.fixture
def document(written):
    return json.loads(written.read_text(encoding="utf-8"))


def test_everything_comes_back(written):
    model, back = whole_model(), read_model(written)
    assert repr(back) == repr(model)
    assert back.best_interval == model.best_interval
    for one in dataclasses.fields(model):
        if one.name not in ("laws", "intervals", "settings", "scores"):
            assert getattr(back, one.name) == getattr(model, one.name), one.name
    np.testing.assert_array_equal(back.settings, model.settings)
    assert back.seen == model.seen
    xr.testing.assert_identical(back.scores, model.scores)
    assert {name: column.dtype for name, column in back.scores.items()} == {
        name: column.dtype for name, column in SCORES.items()
    }
    for law, expected in zip(back.laws, model.laws, strict=True):
        for one in dataclasses.fields(law):
            np.testing.assert_array_equal(getattr(law, one.name), getattr(expected, one.name), err_msg=one.name)
        assert (law.law, law.scale, law.basins) == (expected.law, expected.scale, expected.basins)
    assert set(back.intervals) == set(model.intervals)
    for name, interval in back.intervals.items():
        np.testing.assert_array_equal(interval[1:], model.intervals[name][1:])
        for found, expected in zip(interval.coordinates, model.intervals[name].coordinates, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_predictions_are_the_same_bit_for_bit(written):
    model, back = whole_model(), read_model(written)
    for interval in (None, "laplace", "bootstrap"):
        xr.testing.assert_identical(predict(back, SETTINGS, interval=interval), predict(model, SETTINGS, interval=interval))
    columns = SETTINGS.model_size, SETTINGS.batch_size, SETTINGS.steps
    xr.testing.assert_identical(predict(back, *columns), predict(model, *columns))
    plans = [plan(one, Limits(compute=1e16), progress=False) for one in (model, back)]
    for name in ("best", "frontier", "prices"):
        xr.testing.assert_identical(getattr(plans[0], name), getattr(plans[1], name))


@pytest.mark.parametrize("law", ["adam", "chinchilla", "kaplan"])
def test_every_formula(tmp_path, law):
    model = made_model(law)
    write_model(model, tmp_path / "model.json")
    back = read_model(tmp_path / "model.json")
    assert back.laws[0].law == model.laws[0].law
    assert back.scores is None


def test_the_file_is_standard_json(written):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(written.read_text(encoding="utf-8"), parse_constant=refuse)
    assert document["intervals"]["laplace"]["coverage"] is None
    assert math.isnan(read_model(written).intervals["laplace"].coverage)
    assert document["format"] == "nqmjax model of training runs"
    assert set(document["meaning"]) >= {"loss", "scale", "coordinates", "noise", "intervals"}


def test_files_are_not_overwritten(tmp_path):
    path = tmp_path / "model.json"
    write_model(made_model("chinchilla"), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"model\.json.* exists"):
        write_model(made_model("kaplan"), path)
    assert path.read_bytes() == before
    write_model(made_model("kaplan"), path, force=True)
    assert read_model(path).laws[0].name == "kaplan"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.json"]


def test_what_is_not_written(tmp_path):
    for path, message in {"model.txt": "json", "model": "json", "missing/model.json": "missing"}.items():
        with pytest.raises(ValueError, match=message):
            write_model(made_model("chinchilla"), tmp_path / path)
    with pytest.raises(ValueError, match="model is None: give what fit returns"):
        write_model(None, tmp_path / "model.json")
    assert list(tmp_path.iterdir()) == []


class Own(Chinchilla):
    """A law that `read_model` does not know."""


def test_laws_that_could_not_be_read_are_not_written(tmp_path):
    model = made_model("chinchilla")
    own = dataclasses.replace(model, laws=(dataclasses.replace(model.laws[0], law=Own()),))
    with pytest.raises(ValueError, match="Own"):
        write_model(own, tmp_path / "model.json")
    assert list(tmp_path.iterdir()) == []


def test_infinite_scores_do_not_spoil_the_file(tmp_path):
    """A law whose predictions overflow has an infinite error."""
    write_model(made_model("chinchilla", scores=SCORES.assign(score=("law", [math.inf, 1.0, 1.0]))), tmp_path / "model.json")
    back = read_model(tmp_path / "model.json").scores
    assert not np.isfinite(back.score[0])
    assert back.score[1:].values.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{", "is damaged"),
        ("[]", "no file of the format"),
        ('{"format": "nqmjax plan", "version": 1}', "no file of the format"),
        ('{"format": "nqmjax model of training runs"}', "version of .* is None"),
        (
            '{"format": "nqmjax model of training runs", "version": 3}',
            "version of .* is 3: this nqmjax reads version 2; fit again or update it",
        ),
        ('{"format": "nqmjax model of training runs", "version": 0}', "version of .* is 0"),
        ('{"format": "nqmjax model of training runs", "version": 1}', "reads version 2; fit again$"),
        ('{"format": "nqmjax model of training runs", "version": "1"}', "version of .* is '1'"),
        ('{"format": "nqmjax model of training runs", "version": 2}', "is damaged: '.*' is missing"),
    ],
)
def test_no_models(tmp_path, text, message):
    path = tmp_path / "some.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_model(path)
    assert "some.json" in str(caught.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json"):
        read_model(tmp_path / "none.json")
    (tmp_path / "model.txt").write_text("{}")
    with pytest.raises(ValueError, match=r"model\.txt"):
        read_model(tmp_path / "model.txt")
    path = tmp_path / "latin.json"
    path.write_bytes(b'{"format": "\xff"}')
    with pytest.raises(ValueError, match=r"latin\.json is damaged"):
        read_model(path)


def every_key(part, place=()):
    """Places of all keys but those in what is read as it is."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key not in ("meaning", "nqmjax", "format", "version"):
                yield (*place, key)
                yield from every_key(value, (*place, key)) if key != "columns" and key != "attributes" else ()
    elif isinstance(part, list) and part and isinstance(part[0], dict):
        yield from every_key(part[0], (*place, 0))


def inside(document, place):
    for key in place:
        document = document[key]
    return document


def read_document(document, path):
    path.write_text(json.dumps(document), encoding="utf-8")
    return read_model(path)


def missed(document, tmp_path, places):
    """Places of keys without which a document is read all the same, or with a message that names neither file nor key."""
    text, wrong = json.dumps(document), []
    for place in places:
        some = json.loads(text)
        del inside(some, place[:-1])[place[-1]]
        try:
            read_document(some, tmp_path / "some.json")
            wrong.append(place)
        except ValueError as error:
            if not ("some.json is damaged" in str(error) and str(place[-1]) in str(error)):
                wrong.append((place, str(error)))
    return wrong


def test_missing_keys(document, tmp_path):
    """Each key in turn, but the kinds of intervals, of which one will do, and a formula's options, which have defaults."""
    keys = [place for place in every_key(document) if place[-2:-1] not in (("intervals",), ("options",), ("scale",))]
    assert len(keys) > 30
    assert missed(document, tmp_path, keys) == []


def test_missing_sizes_of_the_scale(document, tmp_path):
    keys = [place for place in every_key(document) if place[-2:-1] == ("scale",)]
    assert len(keys) == 9
    assert missed(document, tmp_path, keys) == []


NUMBERS = [
    ("laws", 0, "noise"),
    ("laws", 0, "mean_squared_error"),
    ("laws", 0, "coordinates", 1),
    ("laws", 0, "covariance", 2, 1),
    ("laws", 0, "jacobian", 0, 0),
    ("laws", 0, "prior", 4),
    ("laws", 1, "scale", "steps"),
    ("laws", 1, "basins", 0, 0),
    ("intervals", "laplace", "coordinates", 0, 0, 0),
    ("intervals", "bootstrap", "coordinates", 1, 2, 3),
    ("intervals", "bootstrap", "inflation"),
    ("intervals", "bootstrap", "coverage"),
    ("settings", 0, 0),
    ("learning_rate",),
    ("compute_factor",),
]


VALUES = {"nan": math.nan, "inf": math.inf, "text": "many", "list": [1.0]}


def damaged(place, name):
    return pytest.param(place, VALUES[name], id=f"{' '.join(map(str, place))} {name}")


@pytest.mark.parametrize(("place", "value"), [damaged(place, name) for place in NUMBERS for name in VALUES])
def test_what_is_no_finite_number(document, tmp_path, place, value):
    inside(document, place[:-1])[place[-1]] = value
    with pytest.raises(ValueError, match=r"some\.json is damaged"):
        read_document(document, tmp_path / "some.json")


def changed(place, change):
    def apply(document):
        *rest, last = place
        part = inside(document, rest)
        part[last] = change(part[last])

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(["laws", 0, "coordinates"], lambda old: old[:-1]), ""),
        (changed(["laws", 0, "covariance"], lambda old: old[:-1]), ""),
        (changed(["laws", 0, "prior"], lambda old: [*old, 1.0]), ""),
        pytest.param(changed(["laws", 0, "jacobian"], lambda old: [[*row, 0.0] for row in old[:5]]), ""),
        pytest.param(changed(["intervals", "laplace", "coordinates"], lambda old: [old[0][:-1], old[1]]), ""),
        pytest.param(changed(["intervals", "laplace", "coordinates"], lambda old: [[*old[0], old[0][0]], old[1]]), ""),
        (
            changed(["intervals", "bootstrap", "coordinates"], lambda old: old[:1]),
            "intervals is 1: there are 2 laws",
        ),
        pytest.param(changed(["intervals", "bootstrap", "coordinates"], lambda old: [[], old[1]]), ""),
        pytest.param(changed(["intervals"], lambda old: {}), "laplace"),
        (
            changed(["laws", 0, "formula"], lambda old: "Secret"),
            "formula is 'Secret': this nqmjax knows QuadraticLaw, Chinchilla",
        ),
        (changed(["laws", 0, "formula"], lambda old: "Kaplan"), "parameters is irreducible.*: this formula has A, alpha_N"),
        (changed(["laws", 0, "formula"], lambda old: ["Kaplan"]), ""),
        (changed(["laws", 0, "parameters"], lambda old: [*old, "more"]), "parameters is .*more: this formula has irreducible"),
        (changed(["laws", 0, "options"], lambda old: {"secret": True}), "secret"),
        (changed(["laws"], lambda old: []), "the number of laws is 0"),
        (changed(["schedules", 0, "family"], lambda old: "spiral"), "spiral"),
        (changed(["schedules", 0, "options"], lambda old: [["depth", 3]]), "depth"),
        (changed(["schedules", 1, "warmup"], lambda old: 3.0), "warmup is 3.0"),
        (changed(["schedules"], lambda old: []), "the number of schedules is 0"),
        pytest.param(changed(["settings"], lambda old: []), ""),
        pytest.param(changed(["settings"], lambda old: [[1e6, -1.0, 100.0, 0.002]]), ""),
        pytest.param(changed(["summary"], lambda old: []), ""),
        pytest.param(changed(["learning_rate"], lambda old: 0.0), ""),
    ],
)
def test_damaged_models(document, tmp_path, change, message):
    change(document)
    with pytest.raises(ValueError, match=rf"some\.json is damaged: .*{message}"):
        read_document(document, tmp_path / "some.json")
