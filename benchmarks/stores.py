"""Sweeps into stores: processor time and memory of one process with two threads and of two Dask workers."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from common import quick, report

WAYS = {
    "store, two threads": "threads",
    "store, two Dask workers": "dask",
    "store, a second process joins": "processes",
    "in memory, two threads": "memory",
}


def sweep(points: int, **options: object) -> None:
    """Heavy ball on 20 directions: `points`^2 settings at ten batch sizes."""
    import nqmjax as nq

    optimizer = nq.HeavyBall(np.geomspace(1e-3, 1, points), 1 - np.geomspace(1e-3, 1, points))
    nq.sweep(nq.power_law(20), optimizer, 2.0 ** np.arange(2, 22, 2), 0.1, progress=False, **options)


def measure(way: str, points: int, folder: str) -> dict[str, float]:
    """One sweep in this process, and its cost with that of the processes that it starts."""
    path, start = os.path.join(folder, "grid.zarr"), time.perf_counter()
    if way == "memory":
        sweep(points)
    elif way == "threads":
        sweep(points, store=path)
    elif way == "processes":
        other = subprocess.Popen([sys.executable, __file__, "threads", str(points), folder], stdout=subprocess.DEVNULL)
        sweep(points, store=path)
        assert other.wait() == 0
    else:
        from distributed import Client, LocalCluster

        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
            sweep(points, store=path, client=client)
    seconds = time.perf_counter() - start
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "processor": own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
        "GiB": own.ru_maxrss / 2**20,
        "worker": others.ru_maxrss / 2**20,
    }


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
        return
    small = quick(__doc__.splitlines()[0])
    sizes = [30, 100] if small else [316, 1000]
    rows = []
    for name, way in WAYS.items():
        found = []
        for points in sizes:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, way, str(points), folder]
                found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]))
                print(name, points, found[-1], flush=True)
        few, many = (10 * points**2 for points in sizes)
        rows.append(
            {
                "way": name,
                "cells": many,
                "processor s": found[1]["processor"],
                "microseconds of a core per further cell": 1e6 * (found[1]["processor"] - found[0]["processor"]) / (many - few),
                f"peak GiB at {few:,}": found[0]["GiB"],
                f"peak GiB at {many:,}": found[1]["GiB"],
                "of a worker": found[1]["worker"] or "",
            }
        )
    base = rows[0]["microseconds of a core per further cell"]
    rows = [row | {"times one process": row["microseconds of a core per further cell"] / base} for row in rows]
    report("stores", "one process with two threads that writes a store", rows, keep=not small)


if __name__ == "__main__":
    main()
