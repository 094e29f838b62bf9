"""Stores: what is in them is what a sweep in memory gives, whatever the order, the interruptions and the company."""

import dataclasses
import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import jax
import numpy as np
import pytest
import xarray as xr
import zarr

import nqmjax as nq
from nqmjax._tools import writing
from nqmjax.sweeps import best_cells, check_store, filling, open_store, store
from nqmjax.sweeps.cells import grid_of
from nqmjax.sweeps.store_spec import check_same, specification
from nqmjax.target import Status

PROBLEM = nq.power_law(20)
RATES, BATCHES, TARGETS = np.geomspace(1e-3, 4, 130), [64, 4], [0.3, 0.1, 1e-3]
CHUNK = 100
"""Cells, so that there are chunks at the end of an axis that are not full."""


def sweep(path=None, **changes):
    asked = {"problem": PROBLEM, "optimizer": nq.SGD(RATES), "batch_size": BATCHES, "target": TARGETS, "progress": False}
    return nq.sweep(**asked | ({} if path is None else {"store": path, "chunk": CHUNK}) | changes)


def files(path):
    return {found.relative_to(path).as_posix(): found.read_bytes() for found in path.rglob("*") if found.is_file()}


@pytest.fixture(scope="module")
def memory():
    return sweep()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store that was filled without disturbance; tests only read it."""
    path = tmp_path_factory.mktemp("store") / "whole.zarr"
    sweep(path)
    return path


def test_layers_and_noise_that_follows_the_loss_are_part_of_a_sweep():
    problems = {
        "plain": PROBLEM,
        "layers": nq.power_law(20, layer=["a", "b"] * 10),
        "others": nq.power_law(20, layer=["a"] * 10 + ["b"] * 10),
        "loss noise": nq.power_law(20, loss_noise=1.0),
    }
    specs = [specification(grid_of(problem, nq.SGD(RATES), 4, 0.1, 100, "first", "float64")) for problem in problems.values()]
    assert len({json.dumps(spec) for spec in specs}) == len(problems)


def test_a_store_holds_what_a_sweep_gives(memory, whole):
    table = open_store(whole)
    xr.testing.assert_equal(table.load(), memory)
    assert list(table) == list(memory)
    assert table.steps.dims == memory.steps.dims
    assert table.status.dtype == memory.status.dtype
    assert memory.attrs.items() <= table.attrs.items()
    assert {name: table[name].attrs["units"] for name in ("steps", "batch_size")} == {
        "steps": "updates",
        "batch_size": "examples",
    }
    xr.testing.assert_equal(xr.open_zarr(whole, chunks=None).load(), memory)  # without a warning
    np.testing.assert_array_equal(
        xr.open_zarr(whole, group="problem", chunks=None, consolidated=False).curvature, PROBLEM.curvature
    )
    root = zarr.open_consolidated(whole)
    assert sorted(root) == sorted(zarr.open_group(whole, mode="r", use_consolidated=False))
    np.testing.assert_array_equal(root["problem"]["noise"][:], PROBLEM.noise)
    assert check_store(whole) == (9, 9, (), ())
    assert {
        "format",
        "format_version",
        "nqmjax_version",
        "jax_version",
        "rule",
        "max_steps",
        "dtype",
        "command",
        "spec",
    } <= set(table.attrs)


def test_layers_are_part_of_the_problem_and_participations_of_the_table(tmp_path):
    path = tmp_path / "layers.zarr"
    problem = nq.from_spectrum([1.0, 0.5, 0.1], layer=["a", "b", "b"])
    grid = grid_of(problem, nq.nonlinear.LARS(0.1, 0.9), BATCHES, 0.1, 9, "first", "float64")
    store.Writer(grid, store.Store(path, grid.dims, grid.shape, (2,))).create()
    table = open_store(path)
    np.testing.assert_array_equal(table.participation, grid.beside["participation"][1])
    assert table.participation.dims == ("batch_size",)
    assert zarr.open_group(path, mode="r")["problem"].attrs["layer"] == ["a", "b", "b"]
    other = dataclasses.replace(grid, problem=dataclasses.replace(problem, layer=("a", "a", "b")))
    with pytest.raises(ValueError, match=r"the problem's layer is 3 words, 'a' .. 'b' .*, asked 3 words, 'a' .. 'b'"):
        check_same(path, other)
    louder = dataclasses.replace(grid, problem=dataclasses.replace(problem, loss_noise=np.ones(3)))
    with pytest.raises(ValueError, match=r"the problem's loss_noise is not there, asked 3 values, 1 .. 1"):
        check_same(path, louder)


def test_numbers_and_chunks_smaller_than_the_batch_sizes(tmp_path):
    few = sweep(optimizer=nq.SGD([0.1, 0.2]), target=0.3)
    for chunk in (1, 3):
        found = sweep(tmp_path / f"{chunk}.zarr", optimizer=nq.SGD([0.1, 0.2]), target=0.3, chunk=chunk).load()
        xr.testing.assert_equal(found, few)
    one = sweep(tmp_path / "one.zarr", optimizer=nq.SGD(0.1), target=0.3).load()
    xr.testing.assert_equal(one, few.isel(learning_rate=0))
    assert filling._usual_cells(grid_of(PROBLEM, nq.SGD(0.1), 4, 0.1, 9, "first", "float64")) == 64


def test_interrupted_anywhere_it_ends_with_the_same_bytes(tmp_path, whole, monkeypatch):
    path, replace = tmp_path / "again.zarr", os.replace
    for allowed in (0, 3, 40, 9, 100):  # files that come into their places before the interrupt
        count = iter(range(allowed))

        def interrupted(*names, count=count):
            if next(count, None) is None:
                raise KeyboardInterrupt
            replace(*names)

        monkeypatch.setattr(os, "replace", interrupted)
        try:
            sweep(path)
        except KeyboardInterrupt:
            assert allowed < 100
        assert not path.exists() or check_store(path).damaged == ()
    assert files(path) == files(whole)


def unfinished(path, whole, chunks):
    """A copy of a store with only the first chunks."""
    kept = {f"{name}/c/{place}" for name in store.ARRAYS for place in chunks if name != "effective_learning_rate"}
    kept |= {f"effective_learning_rate/c/{place.removeprefix('0/')}" for place in chunks}
    for name, data in files(whole).items():
        if "/c/" not in name or name.split("/")[0] not in store.ARRAYS or name in kept:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)


def test_cells_that_are_still_to_come_are_no_answers(tmp_path, memory, whole):
    path = tmp_path / "growing.zarr"
    unfinished(path, whole, ["0/0/1", "0/2/0"])
    (path / "steps/c/0/1").mkdir(parents=True)
    (path / "steps/c/0/1/0").write_bytes((whole / "steps/c/0/1/0").read_bytes())  # killed before its statuses
    table = open_store(path).load()
    there = (table.status != store.UNFINISHED).values
    assert 0 < there.sum() < there.size / 2
    np.testing.assert_array_equal(table.steps.values[there], memory.steps.values[there])
    np.testing.assert_array_equal(table.status.values[there], memory.status.values[there])
    assert np.isnan(table.steps.isel(target=0, learning_rate=slice(44, None)).values[:, 44:]).all()
    assert dict(zip(table.status.flag_meanings.split(), table.status.flag_values, strict=True))["unfinished"] == -1
    assert check_store(path)[:2] == (9, 2)
    best = best_cells(path)
    np.testing.assert_array_equal(best.unfinished, np.isnan(table.steps).sum("learning_rate"))
    xr.testing.assert_equal(best.steps, table.steps.min("learning_rate").where(lambda steps: steps.notnull(), np.inf))
    sweep(path)
    assert files(path) == files(whole)


def test_two_at_once_make_one_store(tmp_path, whole):
    path, failures = tmp_path / "both.zarr", []

    def run():
        try:
            sweep(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert files(path) == files(whole)


KILLED = """
    import os, signal, sys
    import numpy as np, nqmjax as nq
    replace, left = os.replace, [int(sys.argv[2])]
    def replaced(*names):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)
    os.replace = replaced
    nq.sweep(nq.power_law(20), nq.SGD(np.geomspace(1e-3, 4, 130)), [64, 4], [0.3, 0.1, 1e-3], store=sys.argv[1], chunk=100)
"""


def test_a_process_that_is_killed_leaves_what_was_written(tmp_path, whole):
    path = tmp_path / "killed.zarr"
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(path), "30"], capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    found = check_store(path)
    assert 0 < found.finished < found.chunks
    assert not found.damaged
    assert len(found.leftovers) >= 1
    assert check_store(path, repair=True).leftovers == found.leftovers
    sweep(path)
    assert files(path) == files(whole)


def test_a_full_disk_is_said_and_what_is_written_stays(tmp_path, whole, monkeypatch):
    path, fsync, calls = tmp_path / "full.zarr", os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; what is finished stays in the store: mend this") as caught:
        sweep(path)
    assert caught.value.filename == str(path)
    monkeypatch.undo()
    found = check_store(path)
    assert 0 < found.finished < found.chunks
    assert found.damaged == found.leftovers == ()
    sweep(path)
    assert files(path) == files(whole)


def test_a_store_that_is_read_only(tmp_path, memory, whole, monkeypatch):
    path = tmp_path / "half.zarr"
    unfinished(path, whole, ["0/0/1"])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"store is .*half.zarr: this directory is not writable"):
        sweep(path)
    with pytest.raises(ValueError, match="not writable"):
        sweep(tmp_path / "new.zarr")
    xr.testing.assert_equal(sweep(whole).load(), memory)  # nothing is missing


def test_clocks_do_not_matter(tmp_path, whole, monkeypatch):
    path = tmp_path / "clock.zarr"
    unfinished(path, whole, ["0/0/1", "0/1/1"])
    for stamp, name in zip([0, 2**32] * 50, files(path), strict=False):
        os.utime(path / name, (stamp, stamp))
    ticks = iter(range(10**9, 0, -(10**4)))
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    sweep(path)
    assert files(path) == files(whole)


def test_damaged_chunks_are_found_and_made_again(tmp_path, whole):
    path = tmp_path / "damaged.zarr"
    unfinished(path, whole, [f"0/{i}/{j}" for i in range(3) for j in range(3)])
    assert check_store(path) == (9, 9, (), ())
    ways = {
        "steps/c/0/0/0": lambda data: data[:60] + bytes([data[60] ^ 4]) + data[61:],
        "steps/c/0/0/2": lambda data: data[: len(data) // 2],
        "steps/c/0/1/2": lambda data: data[:3],
        "status/c/0/1/1": lambda data: b"",
        "effective_learning_rate/c/2/1": lambda data: data + b"x",
        "steps/c/0/2/2": lambda data: (path / "steps/c/0/2/0").read_bytes(),  # a chunk, but not this one's
    }
    for name, way in ways.items():
        (path / name).write_bytes(way((whole / name).read_bytes()))
    (path / "status/c/0/.nqmjax-1").write_bytes(b"on its way")
    found = check_store(path)
    assert found.finished == 3
    assert {damaged.as_posix() for damaged in found.damaged} >= ways.keys()
    assert [left.as_posix() for left in found.leftovers] == ["status/c/0/.nqmjax-1"]
    assert check_store(path, repair=True) == found
    assert check_store(path) == (9, 3, (), ())
    sweep(path)
    assert files(path) == files(whole)


def test_damage_beside_the_chunks_is_found(tmp_path, whole):
    path = tmp_path / "axes.zarr"
    unfinished(path, whole, [])
    (path / "target/c/0").unlink()
    (path / "problem/noise/c/0").write_bytes(b"short")
    assert sorted(found.as_posix() for found in check_store(path, repair=True).damaged) == ["problem/noise", "target"]


OTHERS = {
    "the problem's noise": {"problem": nq.power_law(20, noise=1.0)},
    "the problem's curvature": {"problem": nq.power_law(21)},
    "optimizer": {"optimizer": nq.HeavyBall(RATES, 0.0)},
    "learning_rate": {"optimizer": nq.SGD(np.nextafter(RATES, 1))},
    "batch_size": {"batch_size": [4, 64]},
    "target": {"target": 0.1},
    "rule": {"rule": "stays"},
    "max_steps": {"max_steps": 1000},
    "dtype": {"dtype": "float32"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_sweep_is_refused_and_the_difference_named(whole, name):
    before = files(whole)
    with pytest.raises(
        ValueError, match=rf"store is .*whole.zarr: it holds another sweep \(.*{name} is .*, asked .*\); give another"
    ):
        sweep(whole, **OTHERS[name])
    assert files(whole) == before


def test_other_chunks_are_refused_and_none_are_those_of_the_store(whole, memory):
    with pytest.raises(ValueError, match="chunk is 50: the store's chunks have 2 x 1 x 44 cells; leave it out"):
        sweep(whole, chunk=50)
    xr.testing.assert_equal(sweep(whole, chunk=None).load(), memory)


def test_the_code_of_ones_own_optimizer_counts(tmp_path):
    def specified(scale):
        path = tmp_path / "own_optimizer.py"
        path.write_text(
            "from nqmjax import LinearOptimizer\n\nclass Own(LinearOptimizer):\n    learning_rate: float\n\n"
            f"    def change(self, state, gradient):\n        return (-{scale} * self.learning_rate * gradient,)\n"
        )
        spec = importlib.util.spec_from_file_location("own_optimizer", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["own_optimizer"] = module
        spec.loader.exec_module(module)
        return specification(grid_of(PROBLEM, module.Own(0.1), 4, 0.1, 9, "first", "float64"))

    try:
        one, same, other = specified("1.0"), specified("1.0"), specified("1.25")
    finally:
        del sys.modules["own_optimizer"]
    assert one == same
    assert [name for name in one if one[name] != other[name]] == ["optimizer"]
    assert "Own of own_optimizer (" in one["optimizer"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "this directory is no store of a sweep"),
        ({"format_version": 2}, "its format has version 2, and this nqmjax reads 1; use a newer nqmjax"),
        ({"spec": 3}, "no store of a sweep"),
        ({"spec": {}}, "it holds another sweep"),
        ("{", r"no store of a sweep \(JSONDecodeError\)"),
        (None, "this directory is no store of a sweep; give another path"),
    ],
)
def test_what_is_no_store_of_this_version(tmp_path, whole, change, words):
    path = tmp_path / "other.zarr"
    unfinished(path, whole, [])
    metadata = path / "zarr.json"
    if isinstance(change, dict):
        about = json.loads(metadata.read_text())
        about["attributes"] |= change
        metadata.write_text(json.dumps(about))
    elif change is None:
        metadata.unlink()
    else:
        metadata.write_text(change)
    with pytest.raises(ValueError, match=f"store is .*other.zarr: .*{words}"):
        sweep(path)


def test_bad_places_and_chunks(tmp_path, monkeypatch):
    (tmp_path / "file.zarr").write_text("")
    (tmp_path / "empty.zarr").mkdir()
    bad = {
        "there is no such directory": tmp_path / "file.zarr",
        "whose name ends in .zarr": tmp_path / "grid.nc",
        "make it first": tmp_path / "none" / "grid.zarr",
    }
    for words, path in bad.items():
        with pytest.raises(ValueError, match=f"store is .*{words}"):
            sweep(path)
    for chunk in (0, -1, 1.5, "many", np.inf):
        with pytest.raises(ValueError, match="chunk is"):
            sweep(tmp_path / "new.zarr", chunk=chunk)
    many = np.geomspace(1e-3, 1, 10**6)
    with pytest.raises(ValueError, match=r"chunk is 100: the store new.zarr would have .* give at least"):
        sweep(tmp_path / "new.zarr", optimizer=nq.HeavyBall(many, many[:10000] * 0.5))
    assert not (tmp_path / "new.zarr").exists()
    with pytest.raises(ValueError, match="chunk is 5: only a store has chunks"):
        sweep(chunk=5)
    with pytest.raises(ValueError, match="there is no such directory"):
        open_store(tmp_path / "none.zarr")
    sweep(tmp_path / "empty.zarr", optimizer=nq.SGD([0.1, 0.2]), target=0.3)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"stores need the package zarr: pip install 'nqmjax\[store\]'"):
        sweep(tmp_path / "new.zarr")


def test_each_process_has_an_order_of_its_own_and_begins_with_its_share(monkeypatch):
    numbers = list(range(0, 3000, 3))
    assert filling._order(numbers) != filling._order(numbers)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    order = filling._order(numbers)
    assert sorted(order) == numbers
    assert {number % 4 for number in order[:250]} == {1}


def test_bytes_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, call=original: (events.append(name), call(*given))[1])
    (tmp_path / "there").mkdir()
    writing.write_durably(tmp_path / "there" / "file", b"x")
    assert events == ["fsync", "replace", "fsync"]


def test_best_cells_are_those_of_the_whole_table(memory, whole):
    for keep in (["batch_size", "target"], "target", [], list(memory.steps.dims)):
        dims = [name for name in memory.steps.dims if name in keep]
        others = [name for name in memory.steps.dims if name not in dims]
        stacked = memory.steps.transpose(*dims, *others).values.reshape([*(memory.sizes[name] for name in dims), -1])
        for best in (best_cells(memory, keep), best_cells(whole, keep)):
            assert best.steps.dims == tuple(dims)
            np.testing.assert_array_equal(best.steps, stacked.min(-1))
            assert not best.unfinished.any()
            for point in np.ndindex(best.steps.shape):
                here = best[dict(zip(dims, point, strict=True))]
                place = {name: memory[name].values.tolist().index(here[name]) for name in others if np.isfinite(here.steps)}
                if place:
                    cell = memory.isel(dict(zip(dims, point, strict=True)) | place)
                    assert (cell.steps, cell.status, cell.effective_learning_rate) == (
                        here.steps,
                        here.status,
                        here.effective_learning_rate,
                    )
                    flat = np.ravel_multi_index([place[name] for name in others], [memory.sizes[name] for name in others])
                    assert flat == stacked[point].argmin()
    lost = best_cells(memory.where(memory.status != Status.REACHED, drop=False).fillna(np.inf), "batch_size")
    assert np.isnan(lost.learning_rate).all()


def test_bad_questions_to_a_table(memory):
    with pytest.raises(ValueError, match="keep is 'momentum'"):
        best_cells(memory, "momentum")
    with pytest.raises(ValueError, match="table is of type int: give"):
        best_cells(3)
    with pytest.raises(ValueError, match="table is of type Dataset: give a table of sweep"):
        best_cells(memory[["steps"]])
