"""Sweeps on a Dask cluster: the same bytes, and workers and schedulers that are not fit."""

import importlib.util

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import nqmjax as nq
from nqmjax.cli import main
from nqmjax.sweeps import check_store, cluster

PROBLEM, RATES = nq.power_law(20), np.geomspace(1e-3, 4, 130)
SPEC = """
batch_size = [64, 4]
target = [0.3, 0.1, 1e-3]
problem = { dim = 20 }
[optimizer]
name = "sgd"
"""
HERE = {"processes": False, "dashboard_address": ":0"}


def sweep(path, **options):
    optimizer = nq.Preconditioned(nq.SGD(RATES), 0.0)
    return nq.sweep(PROBLEM, optimizer, [64, 4], [0.3, 0.1, 1e-3], progress=False, store=path, chunk=100, **options)


def files(path):
    return {found.relative_to(path).as_posix(): found.read_bytes() for found in path.rglob("*") if found.is_file()}


@pytest.fixture(scope="module")
def client():
    """A worker within this process; benchmarks use those of others."""
    with LocalCluster(**HERE, n_workers=1, threads_per_worker=2) as here, Client(here) as found:
        yield found


def test_workers_make_the_store_that_one_process_makes(client, tmp_path):
    sweep(tmp_path / "one.zarr")
    sweep(tmp_path / "cluster.zarr", client=client)
    assert files(tmp_path / "cluster.zarr") == files(tmp_path / "one.zarr")
    path = tmp_path / "cluster.zarr/steps/c/0/1/1"
    path.unlink()
    spec = tmp_path / "grid.toml"
    spec.write_text(SPEC + f"learning_rate = {RATES.tolist()}")
    assert main(["sweep", str(spec), "--store", str(tmp_path / "cluster.zarr"), "--scheduler", client.scheduler.address]) == 0
    assert files(tmp_path / "cluster.zarr") == files(tmp_path / "one.zarr")


def test_a_failing_disk_ends_the_work_and_a_second_call_goes_on(client, tmp_path, monkeypatch):
    path, write, count = tmp_path / "full.zarr", cluster.Writer.write, iter(range(4))

    def full(*arguments):
        if next(count, None) is None:
            raise OSError(28, "No space left on device")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(cluster.Writer, "write", full)
        with pytest.raises(OSError, match="what is finished stays"):
            sweep(path, client=client)
    assert check_store(path).finished == 4
    sweep(path, client=client)
    assert check_store(path) == (9, 9, (), ())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"nqmjax": "9.9"}, "this worker has nqmjax 9.9, needed "),
        ({"dtype": "float32"}, "this worker has dtype float32, needed float64; let all workers have what this process has"),
    ],
)
def test_workers_that_are_not_fit_are_refused(client, tmp_path, monkeypatch, state, words):
    own = cluster._state
    monkeypatch.setattr(cluster, "_state", lambda dtype: own(dtype) | state)
    with pytest.raises(ValueError, match=f"client is .*: {words}"):
        sweep(tmp_path / "new.zarr", client=client)
    monkeypatch.setattr(cluster, "_check_workers", lambda *_: None)  # those that join later are looked at with each task
    with pytest.raises(ValueError, match=f"client is this worker: {words}"):
        sweep(tmp_path / "new.zarr", client=client)


def test_a_worker_without_nqmjax_is_told(client, tmp_path, monkeypatch):
    def missing(dtype):
        raise ModuleNotFoundError("No module named 'nqmjax'")

    monkeypatch.setattr(cluster, "_state", missing)
    with pytest.raises(ValueError, match=r"a worker cannot run nqmjax .*No module named 'nqmjax'.*; install it there"):
        sweep(tmp_path / "new.zarr", client=client)


def test_schedulers_that_do_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    before = dask.config.get("scheduler", None)
    for address, words in {
        "tcp://127.0.0.1:9": "no scheduler answers there within 0.3 seconds",
        "nonsense": "this is no address",
        "abc://x:1": "this is no address",
        3: "give a Dask client, or the address of a scheduler",
        "": "give a Dask client, or the address of a scheduler",
    }.items():
        with pytest.raises(ValueError, match=f"client is {address}: {words}"):
            sweep(tmp_path / "new.zarr", client=address)
    assert dask.config.get("scheduler", None) == before
    lack = pytest.raises(ValueError, match=r"client is .*: it has no worker within 0\.3 seconds; start one")
    with LocalCluster(**HERE, n_workers=0) as empty, Client(empty) as lonely, lack:
        sweep(tmp_path / "new.zarr", client=lonely)
    with pytest.raises(ValueError, match=r"client is .*: it is closed; give one that is running"):
        sweep(tmp_path / "new.zarr", client=lonely)
    assert not (tmp_path / "new.zarr").exists()


class Own(nq.LinearOptimizer):
    """At the top of a module, so that workers can import it."""

    learning_rate: float

    def change(self, state, gradient):
        return (-self.learning_rate * gradient,)


def test_optimizers_that_workers_cannot_import_are_refused():
    class Inner(Own):
        pass

    cluster._check_importable(nq.Averaged(nq.SGD(0.1), 0.9))
    cluster._check_importable(Own(0.1))
    for optimizer in (Inner(0.1), nq.Averaged(Inner(0.1), 0.9)):
        with pytest.raises(ValueError, match=r"optimizer is .*Inner: workers must import it"):
            cluster._check_importable(optimizer)


def test_what_does_not_go_together(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="client is tcp://here:1: what workers compute goes into a store; give store too"):
        nq.sweep(PROBLEM, nq.SGD(0.1), 4, 0.1, client="tcp://here:1")
    with pytest.raises(ValueError, match="devices is cpu: workers have their own"):
        sweep(tmp_path / "new.zarr", client="tcp://here:1", devices="cpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "distributed" else name)
    with pytest.raises(ValueError, match=r"clusters need Dask: pip install 'nqmjax\[cluster\]'"):
        sweep(tmp_path / "new.zarr", client="tcp://here:1")
