"""Files: what is read is what was written, each fault is named with its place, and writing is all or nothing."""

import datetime
import importlib.metadata
import json
import os
import zipfile

import jax
import numpy as np
import pytest
import xarray as xr

from nqmjax import NoisyQuadratic
from nqmjax._tools import writing
from nqmjax._tools.datasets import load_dataset, save_dataset
from nqmjax._tools.writing import check_output, write_atomically
from nqmjax.problem import read_spectrum
from nqmjax.scaling.observed import read_observed

pytestmark = pytest.mark.filterwarnings("error")

FULL = {"eigenvalue": [3.64508294, 0.5, 0.0], "count": [1, 2, 40], "noise": [1.64385006, 0.0, 1e-3], "initial": [0.0, 1.5, 1.0]}


def save_table(path, columns):
    """Write a spectrum in the format that the suffix names."""
    if path.suffix == ".csv":
        rows = [",".join(columns), *(",".join(map(repr, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n")
    elif path.suffix == ".npz":
        np.savez(path, **{name: np.asarray(values) for name, values in columns.items()})
    else:
        data = {name: ((f"of_{name}",) if np.ndim(values) else (), values) for name, values in columns.items()}
        xr.Dataset(data).to_netcdf(path, engine="h5netcdf")
    return path


def message(call, *arguments, **options):
    """The text of the `ValueError` that the call must raise."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        call(*arguments, **options)
    return str(caught.value)


def names(text, *parts):
    for part in parts:
        assert str(part) in text, (part, text)


def csv_message(tmp_path, text, read=read_spectrum):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = message(read, path)
    names(found, path)
    return found


# Spectra


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".nc", ".CSV"])
def test_all_columns_come_back(tmp_path, suffix):
    path = save_table(tmp_path / f"spectrum{suffix.lower()}", FULL)
    path = path.rename(path.with_suffix(suffix))
    problem = read_spectrum(str(path), irreducible=0.25)
    assert isinstance(problem, NoisyQuadratic)
    for field, column in {"curvature": "eigenvalue", "count": "count", "noise": "noise", "initial": "initial"}.items():
        values = getattr(problem, field)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, FULL[column])
    assert problem.irreducible == 0.25


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".nc"])
def test_absent_columns_take_their_defaults(tmp_path, suffix):
    problem = read_spectrum(save_table(tmp_path / f"spectrum{suffix}", {"eigenvalue": [0.1, 2.0]}))
    np.testing.assert_array_equal(problem.curvature, [2.0, 0.1])
    np.testing.assert_array_equal(problem.noise, [2.0, 0.1])
    np.testing.assert_array_equal(problem.count, [1, 1])
    np.testing.assert_array_equal(problem.initial, [1, 1])
    assert problem.irreducible == 0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("suffix", [".csv", ".npz", ".nc"])
def test_random_spectra_come_back_to_the_last_bit(tmp_path, suffix, seed):
    rng = np.random.default_rng(seed)
    columns = {"noise": 10 ** rng.uniform(-300, 300, 50), "eigenvalue": np.sort(10 ** rng.uniform(-300, 300, 50))[::-1]}
    problem = read_spectrum(save_table(tmp_path / f"s{suffix}", {name: v.tolist() for name, v in columns.items()}))
    np.testing.assert_array_equal(problem.curvature, columns["eigenvalue"])
    np.testing.assert_array_equal(problem.noise, columns["noise"])


def test_layers_are_text_and_follow_their_rows(tmp_path):
    (tmp_path / "a.csv").write_text("eigenvalue,layer\n0.1,conv 1\n2,7\n")
    (tmp_path / "b.json").write_text('{"eigenvalue": [0.1, 2], "module": ["conv 1", "7"]}')
    np.savez(tmp_path / "c.npz", eigenvalue=[0.1, 2.0], layer=["conv 1", "7"])
    xr.Dataset({"eigenvalue": ("i", [0.1, 2.0]), "layer": ("i", ["conv 1", "7"])}).to_netcdf(
        tmp_path / "d.nc", engine="h5netcdf"
    )
    for name in ("a.csv", "b.json", "c.npz", "d.nc"):
        assert read_spectrum(tmp_path / name).layer == ("7", "conv 1")
    (tmp_path / "one.json").write_text('{"eigenvalue": [0.1, 2], "weight": [0.5, 0.5], "dim": 4, "layer": ["b", "a"]}')
    assert read_spectrum(tmp_path / "one.json").layer == ("a", "b")
    names(csv_message(tmp_path, "eigenvalue,layer\n1,a\n2,\n"), "layer[1] is ''", "give a name")


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_arrays_may_be_single_numbers(tmp_path, suffix):
    problem = read_spectrum(save_table(tmp_path / f"spectrum{suffix}", {"eigenvalue": [2.0, 1.0], "initial": 0.5}))
    np.testing.assert_array_equal(problem.initial, [0.5, 0.5])


def test_netcdf_eigenvalues_may_be_a_coordinate(tmp_path):
    data = xr.Dataset({"noise": ("eigenvalue", [4.0, 3.0])}, {"eigenvalue": [2.0, 1.0], "origin": "layer 1"})
    data.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    problem = read_spectrum(tmp_path / "s.nc")
    np.testing.assert_array_equal(problem.noise, [4.0, 3.0])


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfeigenvalue,count\n2,3\n1,4\n",
        b"eigenvalue,count\r\n2,3\r\n1,4\r\n",
        b"eigenvalue,count\r2,3\r1,4",
        b"  eigenvalue , count\t\n 2 ,3\n1, 4 \n",
        b"eigenvalue,count\n2,3\n1,4\n\n  \n\r\n",
        b'# made by "someone\n# a, "b\n\neigenvalue,count\n2,3\n  #,"\n1,4\n',
        b'"eigenvalue", "count"\n"2","3"\n1,4e0\n',
        "eigenvalue,count\n2,3\n1,4\n".encode("utf-16"),
        "\ufeffeigenvalue\tcount\r\n2\t3\r\n1\t4\r\n".encode("utf-16-be"),
        b"sep=;\r\neigenvalue;count\r\n2,0;3\r\n1,0;4\r\n",
        b'"sep=|"\neigenvalue|count\n2|3\n1|4\n',
        b"eigenvalue;count\n2,00;3\n1;4\n",
        b'eigenvalue,count\n"2,0",3\n"1,0",4\n',
        b"count\teigenvalue\n3\t2\n4\t1\n",
        b"count   eigenvalue\n 3  2\n4  1 \n",
        b"Eigenvalues (1/step),n\n2,3\n1,4\n",
        "\u03bb,multiplicity\n2^1,3\n1e0,4\n".encode(),
        b"eigenvalue,count,,\n2,3,,\n1,4,,\n,,,\n",
        b",eigenvalue,count\n0,2,3\n1,1,4\n",
    ],
    ids=[
        *("BOM", "Windows", "old Mac", "spaces", "blank lines", "comments", "quotes", "UTF-16", "UTF-16 with tabs"),
        *("Excel", "sep in quotes", "decimal commas", "quoted decimal commas", "tabs", "blanks", "capitals and units"),
        *("other names", "empty columns", "index"),
    ],
)
def test_csv_dialects(tmp_path, text):
    path = tmp_path / "spectrum.csv"
    path.write_bytes(text)
    problem = read_spectrum(path)
    np.testing.assert_array_equal(problem.curvature, [2, 1])
    np.testing.assert_array_equal(problem.count, [3, 4])


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".nc"])
def test_unknown_columns_are_ignored_with_a_warning(tmp_path, suffix):
    path = save_table(tmp_path / f"spectrum{suffix}", {"coumt": [1, 2], "eigenvalue": [2.0, 1.0], "block": [7, 8]})
    with pytest.warns(UserWarning, match=r"'coumt' \(did you mean 'count'\?\), 'block'$") as caught:
        problem = read_spectrum(path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    names(str(caught[0].message), path)
    np.testing.assert_array_equal(problem.count, [1, 1])


def test_unknown_columns_may_hold_anything(tmp_path):
    np.savez(tmp_path / "s.npz", eigenvalue=np.ones(2), config=np.array([{}, None]))
    (tmp_path / "s.csv").write_text("eigenvalue,block\n1,dense\n1,\n")
    for name in ("s.npz", "s.csv"):
        with pytest.warns(UserWarning, match="config|block"):
            assert read_spectrum(tmp_path / name).dim == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["is empty"]),
        ("\n# only a comment\n \n", ["is empty"]),
        ("# about\neigenvalue\n\n", ["rows", "is 0", "row 2"]),
        ("eigenvale,n\n1,2\n", ["'eigenvale', 'n'", "'eigenvalue' is missing", "'eigenvale' is meant"]),
        ("lambda,h\n1,2\n", ["'lambda' and 'h' may both mean 'eigenvalue'", "rename"]),
        ("eigenvalue,weight\n1,1\n", ["number of directions", "missing", "dim"]),
        ("eigenvalue,count,weight\n1,1,1\n", ["'count' and 'weight'", "leave one out"]),
        ("eigenvalue,Spectral density\n1,1\n", ["'Spectral density'", "widths of its bins"]),
        ("eigenvalue,noise std\n1,1\n", ["'noise std'", "square"]),
        ("log10 eigenvalue,eigenvalue\n1,1\n", ["'log10 eigenvalue'"]),
        ("eigenvalue,count\n0,1\n0,2\n", ["every eigenvalue", "is 0"]),
        ("eigenvalue\n1\n-0.01\n", ["row 3", "clip", "Gauss-Newton"]),
        ("lambda (1/s);count\n1,024;1\n2,048;1\n", ["row 2, column 'lambda (1/s)'", "'1,024'", "write 1024 or 1.024"]),
        ("eigenvalue;count\n1,5;1\n1.5;1\n", ["row 2, column 'eigenvalue'", "'1,5'", "'1.5'", "in one way"]),
        ("eigenvalue\n1e400\n", ["row 2, column 'eigenvalue'", "'1e400'", "between"]),
        ("eigenvalue\n4kg\n", ["row 2, column 'eigenvalue'", "'4kg'"]),
        ("3.6,1\n2.5,1\n", ["'3.6', '1'", "'eigenvalue' is missing"]),
        ("eigenvalue,count, count\n1,1,1\n", ["'count' is there more than once"]),
        ("eigenvalue,noise\n1,2\n\n#\n3,x1\n", ["row 5, column 'noise'", "'x1'", "give a number"]),
        ("eigenvalue,noise\n1,2\n,4\n", ["row 3, column 'eigenvalue'", "''"]),
        ("eigenvalue\n3.6 # guess\n", ["row 2, column 'eigenvalue'", "'3.6 # guess'"]),
        ("eigenvalue,count\n1,1\n2\n", ["row 3", "is 1", "names, 2"]),
        ("eigenvalue,count\n\n1,1,1\n", ["row 3", "is 3", "names, 2"]),
        ("eigenvalue\n3,64\n", ["row 2", "is 2", "point"]),
        ('eigenvalue,count\n1,1\n"2,1\n3,1\n', ["row 3", "'\"2,1'"]),
        ("eigenvalue,count\n1,1\nnan,1\n", ["row 3, column 'eigenvalue' is nan"]),
        ("eigenvalue\n-1\n", ["row 2, column 'eigenvalue' is -1.0", "not negative"]),
        ("eigenvalue\n1\ninf\n", ["row 3, column 'eigenvalue' is inf"]),
        ("noise,eigenvalue\n1,1\n-2,1\n", ["row 3, column 'noise' is -2.0"]),
        ("initial,eigenvalue\n1,1\nNaN,1\n", ["row 3, column 'initial' is nan"]),
        ("eigenvalue,count\n1,1\n\n2,0\n", ["row 4, column 'count' is 0.0", "positive"]),
        ("eigenvalue,count\n1,-3\n", ["row 2, column 'count' is -3.0"]),
        ("eigenvalue\n1\n".encode("utf-16")[:-1], ["UTF-16"]),
        (b"PK\x03\x04\xff\xfe\x00", ["UTF-8"]),
        (b"eigenvalue\n1\x00\n", ["row 2"]),
    ],
)
def test_faults_of_csv_files(tmp_path, text, parts):
    names(csv_message(tmp_path, text), *parts)


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"eigenvale": [1.0], "x": [1.0]}, ["'eigenvale', 'x'", "'eigenvalue' is missing", "rename"]),
        ({"eigenvalue": [1.0, 2.0, 3.0], "count": [1, 2]}, ["shape of", "count", "(2,)", "3 of them"]),
        ({"eigenvalue": [1.0, 2.0], "noise": [1.0]}, ["shape of", "noise", "(1,)", "2 of them"]),
        ({"eigenvalue": 1.0}, ["shape of", "eigenvalue", "()", "1-D"]),
        ({"eigenvalue": np.zeros(0)}, ["shape of", "eigenvalue", "(0,)", "not empty"]),
        ({"eigenvalue": ["1.0", "2.0"]}, ["type of", "eigenvalue", "real numbers"]),
        ({"eigenvalue": [1.0, -2.0]}, [", eigenvalue[1] is -2.0", "not negative"]),
        ({"eigenvalue": [1.0, 2.0], "noise": [np.nan, 1.0]}, [", noise[0] is nan"]),
        ({"eigenvalue": [1.0, 2.0], "count": [1, 0]}, [", count[1] is 0.0", "positive"]),
        ({"eigenvalue": [1.0, 2.0], "count": -1}, [", count[0] is -1.0", "positive"]),
    ],
)
def test_faults_of_array_files(tmp_path, suffix, columns, parts):
    path = save_table(tmp_path / f"spectrum{suffix}", columns)
    names(message(read_spectrum, path), path, *parts)


def test_eigenvalues_must_be_real_and_one_dimensional(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, eigenvalue=np.ones(2, dtype=complex))
    names(message(read_spectrum, path), path, "complex128", "real")
    np.savez(path, eigenvalue=np.ones((2, 2)))
    names(message(read_spectrum, path), path, "(2, 2)", "1-D")
    np.savez(path, eigenvalue=np.array([{}, 1.0]))
    names(message(read_spectrum, path), path, "damaged")


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.9])
def test_truncated_files(tmp_path, suffix, part):
    path = save_table(tmp_path / f"spectrum{suffix}", FULL)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    names(message(read_spectrum, path), path, "damaged" if part else "empty")


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_files_of_another_kind(tmp_path, suffix):
    path = tmp_path / f"spectrum{suffix}"
    path.write_text("eigenvalue\n1\n")
    names(message(read_spectrum, path), path, "damaged or not what its suffix", suffix)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_raise_anything_else(tmp_path, seed):
    path = save_table(tmp_path / "spectrum.npz", FULL)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(len(data), size=3):
        data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    try:
        read_spectrum(path)
    except ValueError as error:
        names(str(error), path)
    except UserWarning as warning:  # A byte of a name.
        names(str(warning), path)


def test_a_numpy_array_or_a_zip_of_text_is_no_npz(tmp_path):
    np.save(tmp_path / "s.npy", np.ones(3))
    path = (tmp_path / "s.npy").rename(tmp_path / "s.npz")
    names(message(read_spectrum, path), path, "damaged")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("eigenvalue", "1.0")
    names(message(read_spectrum, path), path, "real numbers")


@pytest.mark.parametrize("read", [read_spectrum, read_observed, load_dataset])
def test_what_is_no_file(tmp_path, read):
    suffix = ".nc" if read is load_dataset else ".csv"
    missing, directory, unknown = tmp_path / f"missing{suffix}", tmp_path / f"folder{suffix}", tmp_path / "table.xlsx"
    directory.mkdir()
    unknown.write_text("x")
    names(message(read, missing), missing, "no such file")
    names(message(read, directory), directory, "directory")
    names(message(read, unknown), unknown, suffix)
    for nonsense in (None, 3, b"x.csv", ["x.csv"]):
        names(message(read, nonsense), "path", repr(nonsense))


def test_a_missing_library_is_not_the_file_s_fault(tmp_path, monkeypatch):
    path = save_table(tmp_path / "spectrum.nc", FULL)

    def fail(*_, **__):
        raise ImportError("no reader")

    monkeypatch.setattr(xr, "open_dataset", fail)
    with pytest.raises(ImportError, match="no reader"):
        read_spectrum(path)


# Arrays without names, and what Lanczos programs give


def test_a_list_of_eigenvalues_needs_no_name(tmp_path):
    values = np.array([0.5, 2.0, -1e-8])
    np.save(tmp_path / "s.npy", values)
    np.savez(tmp_path / "s.npz", values)
    (tmp_path / "s.json").write_text(json.dumps(values.tolist()))
    (tmp_path / "s.txt").write_text("0.5\n2\n-1e-8\n")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_spectrum(path).curvature, [2.0, 0.5, 0.0])


def test_structured_arrays_have_names(tmp_path):
    np.save(tmp_path / "s.npy", np.array([(2.0, 3), (1.0, 4)], dtype=[("lambda", float), ("count", int)]))
    problem = read_spectrum(tmp_path / "s.npy")
    np.testing.assert_array_equal(problem.curvature, [2, 1])
    np.testing.assert_array_equal(problem.count, [3, 4])


def test_quadrature_in_runs_is_averaged(tmp_path):
    eigenvalues, weights = [[3.0, 1.0, -1e-9], [2.0, 0.5, 0.0]], [[0.1, 0.3, 0.6], [0.2, 0.8, 0.0]]
    np.savez(tmp_path / "named.npz", density_eigen=eigenvalues, density_weight=weights, dim=1000)
    np.savez(tmp_path / "plain.npz", eigenvalues, weights)
    np.save(tmp_path / "s.npy", np.array([eigenvalues, weights]))
    (tmp_path / "pair.json").write_text(json.dumps([eigenvalues, weights]))
    ragged = {"eigenvalues": [eigenvalues[0], eigenvalues[1][:2]], "weights": [weights[0], weights[1][:2]]}
    (tmp_path / "ragged.json").write_text(json.dumps(ragged))
    for path in tmp_path.iterdir():
        problem = read_spectrum(path, dim=None if path.name == "named.npz" else 1000)
        np.testing.assert_array_equal(problem.curvature, [3.0, 2.0, 1.0, 0.5, 0.0])
        np.testing.assert_allclose(problem.count, [50.0, 100.0, 150.0, 400.0, 300.0])


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ([[1.0, 2.0], [3.0]], ["without names", "a list"]),
        ([[1.0, 2.0], [0.5, 0.4]], ["without names"]),
        ({"eigenvalue": [[1.0], [2.0]], "weight": [[0.6], [0.6]]}, ["the sum of 'weight'", "0.6", "sum to 1"]),
        ({"eigenvalue": [[1.0], [2.0, 1.0]], "weight": [[1.0], [1.0]]}, ["lengths of the runs", "one weight"]),
        ({"eigenvalue": [1.0, 2.0], "weight": [1.0]}, ["shape of", "weight", "(1,)", "2 of them"]),
        ({"eigenvalue": [1.0, 2.0], "weight": [-0.5, 1.5]}, ["weight[0] is -0.5"]),
        ({"eigenvalue": [1.0], "weight": [1.0], "dim": 0}, ["dim is 0"]),
        ({"eigenvalue": [1.0, None]}, ["type of", "real numbers"]),
        ({"eigenvalue": {"a": 1}}, ["type of", "real numbers"]),
        (3.0, ["damaged"]),
    ],
)
def test_faults_of_lists(tmp_path, content, parts):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(content))
    dim = None if isinstance(content, dict) and "dim" in content else 10
    names(message(read_spectrum, path, dim=dim), *([path] if dim else []), *parts)


def test_directions_without_weights_are_refused_or_said(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, eigenvalue=[1.0, 2.0], dim=50)
    names(message(read_spectrum, path, dim=50), "dim is 50", path, "no weights")
    with pytest.warns(UserWarning, match="'dim' is not used"):
        read_spectrum(path)


# Measured runs


def test_observed_runs_keep_the_order_of_their_first_rows(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text('# ours\nsteps,batch,label\n900,64,Adam\n2000,64,"SGD, tuned"\n500.5,128,Adam\n')
    runs = read_observed(path)
    assert [curve.label for curve in runs] == ["Adam", "SGD, tuned"]
    np.testing.assert_array_equal(runs[0].batch_size, [64, 128])
    np.testing.assert_array_equal(runs[0].steps, [900, 500.5])
    np.testing.assert_array_equal([runs[1].batch_size, runs[1].steps], [[64], [2000]])
    assert np.isnan(runs[0].learning_rate).all()
    assert np.isnan(runs[0].standard_error).all()


def test_observed_runs_have_rates_and_standard_errors_as_far_as_known(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("BS,updates,LR,std err\n64,900,1e-3,\n128,500,,20\n")
    (curve,) = read_observed(path)
    np.testing.assert_array_equal(curve.learning_rate, [1e-3, np.nan])
    np.testing.assert_array_equal(curve.standard_error, [np.nan, 20])
    assert len(curve) == 2


@pytest.mark.parametrize("text", ["batch_size,steps\n1,5\n2,3\n", "label,batch_size,steps\n,1,5\nresnet,2,3\n"])
def test_runs_without_a_label_take_the_name_of_the_file(tmp_path, text):
    path = tmp_path / "resnet.csv"
    path.write_text(text)
    (curve,) = read_observed(path)
    assert curve.label == "resnet"
    np.testing.assert_array_equal(curve.batch_size, [1, 2])
    np.testing.assert_array_equal(curve.steps, [5, 3])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("batch_size,stops\n1,2\n", ["'batch_size', 'stops'", "'steps' is missing", "'stops' is meant"]),
        ("bach_size,steps\n1,2\n", ["'batch_size' is missing", "'bach_size' is meant"]),
        ("batch,steps\n1,2\n0.5,3\n", ["row 3, column 'batch' is 0.5", "at least 1"]),
        ("batch_size,steps\n1,0\n", ["row 2, column 'steps' is 0.0", "positive"]),
        ("batch_size,steps\n1,nan\n", ["row 2, column 'steps' is nan"]),
        ("batch,steps,lr\n1,2,0\n", ["row 2, column 'lr' is 0.0", "positive"]),
        ("batch,steps,se\n1,2,-3\n", ["row 2, column 'se' is -3.0", "positive"]),
        ("batch,steps,lr\n1,2,inf\n", ["lr", "is inf", "positive"]),
        ("batch_size,steps\n1,never\n", ["row 2, column 'steps' is 'never'"]),
        ("batch_size,steps,label\n1,2\n", ["row 2", "is 2", "3"]),
    ],
)
def test_faults_of_observed_runs(tmp_path, text, parts):
    names(csv_message(tmp_path, text, read_observed), *parts)


def test_columns_of_observed_runs_that_are_not_used(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("batch,batch_size,steps,lable\n1,2,3,a\n")
    with pytest.warns(UserWarning, match=r"'batch', 'lable' \(did you mean 'label'\?\)") as caught:
        (curve,) = read_observed(path)
    assert caught[0].filename == __file__
    assert curve.batch_size == 2


# Writing


def test_writing_puts_the_whole_file_in_place(tmp_path):
    path = tmp_path / "figure.pdf"
    seen = []

    def writer(temporary):
        seen.append(temporary)
        assert temporary.suffix == ".pdf"
        assert temporary != path
        assert not path.exists()
        temporary.write_text("new")

    write_atomically(str(path), writer)
    assert path.read_text() == "new"
    assert len(seen) == 1
    assert os.listdir(tmp_path) == ["figure.pdf"]


def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "made", lambda temporary: temporary.write_text(""))
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_relative_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("made.txt", lambda temporary: temporary.write_text("new"))
    assert (tmp_path / "made.txt").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_failing_writer_leaves_what_was_there(tmp_path, error, old):
    path = tmp_path / "result.csv"
    if old:
        path.write_text(old)

    def writer(temporary):
        temporary.write_text("half")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write_atomically(path, writer, force=True)
    assert os.listdir(tmp_path) == (["result.csv"] if old else [])
    assert not old or path.read_text() == old


def test_a_failing_replacement_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(writing.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "a.txt", lambda temporary: temporary.write_text("new"))
    assert os.listdir(tmp_path) == []


def test_a_writer_that_changes_the_name_leaves_nothing(tmp_path):
    path = tmp_path / "figure"
    found = message(write_atomically, path, lambda temporary: temporary.with_suffix(".png").write_text("x"))
    names(found, path, "nothing was written", "suffix")
    assert os.listdir(tmp_path) == []


def test_an_existing_file_needs_force(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def never(_):
        raise AssertionError("the check comes first")

    for found in (message(check_output, path), message(write_atomically, path, never)):
        names(found, path, "exists", "--force", "another name")
    assert path.read_text() == "old"
    check_output(path, force=True)
    write_atomically(path, lambda temporary: temporary.write_text("new"), force=True)
    assert path.read_text() == "new"


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "plain").write_text("")
    nowhere, below, folder = tmp_path / "none" / "a.nc", tmp_path / "plain" / "a.nc", tmp_path / "folder"
    folder.mkdir()
    for path in (nowhere, below):
        names(message(check_output, path, force=True), path, "no directory", path.parent, "make it first")
    names(message(check_output, folder, force=True), folder, "this is a directory")
    names(message(check_output, None), "path", "None")
    check_output(tmp_path / "a.nc")
    monkeypatch.setattr(writing.os, "access", lambda *_: False)
    names(message(check_output, tmp_path / "a.nc"), tmp_path / "a.nc", "not writable")


def test_a_device_is_never_replaced():
    names(message(check_output, os.devnull, force=True), os.devnull, "not an ordinary file")


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "runs").mkdir()
    real, link = tmp_path / "runs" / "real.dat", tmp_path / "latest.txt"
    link.symlink_to(real)
    for text in ("first", "second"):
        write_atomically(link, lambda temporary, text=text: temporary.write_text(text), force=True)
        assert link.is_symlink()
        assert real.read_text() == text
    assert os.listdir(real.parent) == ["real.dat"]


# Datasets


def table():
    status = ("batch_size", [0, 3], {"codes": {"reached": 0}, "checked": True})
    return xr.Dataset(
        {
            "steps": ("batch_size", [900.0, np.inf], {"units": "seconds"}),
            "status": status,
            "flag": ("batch_size", [True, False]),
        },
        {"batch_size": ("batch_size", [64, 128], {"units": "examples", "source": None}), "method": "heavy ball"},
        {"target": 0.01, "steps": np.int64(3), "fixed": None, "about": np.str_("ü"), "grid": np.arange(3.0), "title": "Own"},
    )


def test_datasets_come_back(tmp_path):
    path, data = tmp_path / "sweep.nc", table()
    assert save_dataset(data, path) is None
    loaded = load_dataset(path)
    xr.testing.assert_equal(loaded, data)
    assert {name: variable.dtype for name, variable in loaded.variables.items()} == {
        name: variable.dtype for name, variable in data.variables.items()
    }
    assert loaded.attrs["target"] == 0.01
    assert loaded.attrs["about"] == "ü"
    assert loaded.attrs["title"] == "Own"
    np.testing.assert_array_equal(loaded.attrs["grid"], [0, 1, 2])
    assert loaded["steps"].attrs == {"units": "seconds"}
    assert loaded["batch_size"].attrs == {"units": "examples", "source": "null"}
    assert loaded["status"].attrs == {"codes": '{"reached": 0}', "checked": "true"}
    assert os.listdir(tmp_path) == ["sweep.nc"]


def test_datasets_say_what_made_them(tmp_path):
    path = tmp_path / "sweep.nc"
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    save_dataset(table(), path, title="A sweep")
    attributes = load_dataset(path).attrs
    assert attributes["title"] == "A sweep"
    assert attributes["nqmjax_version"] == importlib.metadata.version("nqmjax")
    assert attributes["jax_version"] == jax.__version__
    assert before <= datetime.datetime.fromisoformat(attributes["created"]) <= datetime.datetime.now(datetime.UTC)


def test_saving_changes_nothing_and_may_be_repeated(tmp_path):
    data = table()
    save_dataset(data, tmp_path / "a.nc", title="A sweep")
    xr.testing.assert_identical(data, table())
    loaded = load_dataset(tmp_path / "a.nc")
    save_dataset(loaded, tmp_path / "a.nc", force=True)
    xr.testing.assert_equal(load_dataset(tmp_path / "a.nc"), data)
    assert load_dataset(tmp_path / "a.nc").attrs["title"] == "A sweep"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        np.True_,
        {"a": 1, "b": [None, {"c": 2.5}]},
        {"a": np.arange(2), "b": np.float64(0.5)},
        [[1.0, 2.0], [3.0, 4.0]],
        np.eye(2),
        np.array([True, False]),
        [[1], [2, 3]],
        ["SGD", "Adam, β"],
        2**70,
        {},
    ],
    ids=repr,
)
def test_other_attributes_are_json(tmp_path, value):
    save_dataset(xr.Dataset(attrs={"value": value}), tmp_path / "a.nc")
    plain = json.loads(json.dumps(value, default=lambda array: array.tolist()))
    assert json.loads(load_dataset(tmp_path / "a.nc").attrs["value"]) == plain


def test_jax_arrays_and_foreign_objects_as_attributes(tmp_path):
    with jax.enable_x64(True):
        attributes = {"rates": jax.numpy.asarray([0.1, 0.2]), "path": tmp_path, 3: "three"}
    save_dataset(xr.Dataset(attrs=attributes), tmp_path / "a.nc")
    loaded = load_dataset(tmp_path / "a.nc").attrs
    np.testing.assert_array_equal(loaded["rates"], [0.1, 0.2])
    assert json.loads(loaded["path"]) == str(tmp_path)
    assert loaded["3"] == "three"


def test_datasets_that_cannot_be_saved(tmp_path):
    data, path = table(), tmp_path / "a.nc"
    names(message(save_dataset, data["steps"], path), "dataset", "DataArray", "xarray.Dataset")
    names(message(save_dataset, data, tmp_path / "a.csv"), "a.csv", ".nc")
    names(message(save_dataset, data, tmp_path / "none" / "a.nc"), "none", "no directory")
    path.write_text("old")
    names(message(save_dataset, data, path), path, "--force")
    with pytest.raises(ValueError, match="mixed"):
        save_dataset(xr.Dataset({"mixed": ("n", np.array([1, "a"], dtype=object))}), path, force=True)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.nc"]


def test_datasets_that_cannot_be_loaded(tmp_path):
    path = tmp_path / "a.nc"
    xr.Dataset({"x": 1.0}).to_netcdf(path, engine="h5netcdf")
    names(message(load_dataset, path), path, "not a file made by nqmjax", "'nqmjax_version'")
    save_dataset(table(), path, force=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    names(message(load_dataset, path), path, "damaged")
    path.write_text("steps\n1\n")
    names(message(load_dataset, path), path, "damaged")
    path.write_bytes(b"")
    names(message(load_dataset, path), path, "empty")
