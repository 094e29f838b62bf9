"""Work on several devices: dealt out, in order, bit-identical to one, and names of devices that do not exist."""

import itertools
import os
import subprocess
import sys
import textwrap
import threading

import jax
import optax
import pytest

import nqmjax as nq
from nqmjax._tools.devices import FirstAlone, Workers, local_devices

PROBLEM = nq.power_law(20)
FOUR = """
    import jax, numpy as np, nqmjax as nq
    from nqmjax.sweeps import lanes

    assert len(jax.devices()) == 4
    used, search = set(), lanes._search
    def watched(*arguments):
        found = search(*arguments)
        used.update(found.steps.devices())
        return found
    lanes._search = watched
    grid = lambda devices: nq.sweep(nq.power_law(20), nq.SGD(np.geomspace(1e-3, 2, 400)), [2, 64], 0.05, devices=devices)
    one = grid(["cpu:2"])
    assert [device.id for device in used] == [2], used
    assert grid(None).identical(one)
    assert len(used) == 4, used
    assert len(np.unique(one.steps)) > 100

    import importlib, optax
    monte_carlo = importlib.import_module("nqmjax.nonlinear.monte_carlo")

    used, risks, monte_carlo.CHUNK_ENTRIES = set(), monte_carlo._risks, 200
    def watched(*arguments, **named):
        found = risks(*arguments, **named)
        used.update(found.devices())
        return found
    monte_carlo._risks = watched
    sampled = lambda devices: nq.monte_carlo(nq.power_law(20), optax.sgd(0.1), 8, 3, 95, key=0, devices=devices)
    one = sampled("cpu:1")
    assert [device.id for device in used] == [1], used
    assert sampled(None).identical(one)
    assert len(used) == 4, used
"""


def test_four_devices_give_what_one_gives():
    """In a process of its own, because the number of devices is chosen before JAX starts."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    code = textwrap.dedent(FOUR)
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_workers_keep_the_order_and_stop_after_an_error():
    started = []

    def work(number):
        started.append(number)
        assert jax.config.jax_default_device in jax.local_devices()
        if number == 5:
            raise OSError("full")
        return number

    workers = Workers()
    assert list(workers.map(lambda number: 2 * number, range(200))) == list(range(0, 400, 2))
    with pytest.raises(OSError, match="full"):
        list(workers.map(work, range(10**6)))
    assert len(started) < 10**4


def test_a_thread_within_stops_when_the_others_do():
    workers, begun = Workers(), threading.Event()
    workers.threads = 2

    def work(name):
        if name == "endless":
            begun.set()
            for _ in workers.within(int, itertools.repeat(0)):
                pass
        begun.wait()
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        list(workers.map(work, ["fails", "endless"]))


def test_the_first_call_runs_alone():
    alone, inside, most = FirstAlone(), [], []

    def call(_):
        with alone("program"):
            inside.append(0)
            most.append(len(inside))
            inside.pop()

    list(Workers().map(call, range(50)))
    assert most[0] == 1
    with pytest.raises(OSError, match="no"), alone("other"):
        raise OSError("no")
    with alone("other"):  # what failed was not the first
        assert "other" not in alone._done
    assert "other" in alone._done


@pytest.mark.parametrize("devices", ["cpu:9", "tpu", "nonsense", "", [], ["cpu", "gpu:0"], 3, [None], {"cpu": 0}])
def test_devices_that_do_not_exist_are_named(devices):
    with pytest.raises(ValueError, match="devices is"):
        nq.sweep(PROBLEM, nq.SGD(0.1), 64, 0.1, devices=devices)
    with pytest.raises(ValueError, match="devices is"):
        nq.monte_carlo(PROBLEM, optax.sgd(0.1), 64, 1, 2, key=0, devices=devices)


def test_devices_by_name_by_object_and_by_default():
    assert local_devices() == jax.local_devices() == local_devices("cpu") == local_devices(jax.local_devices())
    with jax.default_device(jax.devices("cpu")[0]):
        assert local_devices() == [jax.devices("cpu")[0]]
    assert local_devices(["cpu:0", "cpu"]) == jax.local_devices()
