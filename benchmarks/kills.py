"""Stores of sweeps under attack: 200 disturbances at random moments, and what is lost or changed by them.

Each process is a fork of this one, which has imported everything and has not yet started JAX. A child says each chunk that it
has written, through a pipe, and the parent kills it. After each disturbance every file of the store must be one of an
undisturbed run, byte for byte, and every chunk that was said to be written must be there. Then the store is gone on with,
in the same way, until it is finished.
"""

import builtins
import errno
import itertools
import os
import resource
import shutil
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from common import quick, report

import nqmjax as nq
from nqmjax.sweeps.filling import fill_store  # noqa: F401, loaded before the forks
from nqmjax.sweeps.store import Store, Writer, zarr_for
from nqmjax.sweeps.store_check import check_store

KINDS = {
    "killed": "SIGKILL at a random moment",
    "two processes, one killed": "on one store; the other goes on",
    "two processes, both killed": "on one store",
    "full disk": "no file may grow beyond a random size (RLIMIT_FSIZE)",
    "read-only": "no file can be made from a random moment on",
    "clock jumps": "time.time and the stamps of the files are random; SIGKILL at a random moment",
    "truncated chunk": "one file cut at a random place; found by check_store, removed and made again",
}
CHUNKS = Store(Path(), ("batch_size", "target", "learning_rate"), (4, 3, 400), (4, 1, 8))


def sweep(path: Path) -> None:
    """The sweep under attack: 150 chunks of 32 cells."""
    rates = np.geomspace(1e-3, 4, 400)
    nq.sweep(nq.power_law(20), nq.SGD(rates), [64, 4, 1, 16], [0.3, 0.1, 1e-3], progress=False, store=path, chunk=32)


def child(work: Callable[[], object], say: int | None = None) -> int:
    """Fork a process that does some work, and says through a pipe each chunk that is written."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if say is not None:
            write = Writer.write

            def written(self: Writer, number: int, found: dict) -> None:
                write(self, number, found)
                os.write(say, struct.pack("i", number))

            Writer.write = written
        work()
        code = 0
    except (OSError, ValueError):
        code = 3  # said so
    finally:
        os._exit(code)


def disturbed(kind: str, path: Path, rng: np.random.Generator) -> Callable[[], object]:
    """What a child does under a disturbance."""
    if kind == "full disk":
        size = int(rng.integers(1, 150))
        return lambda: (resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)), sweep(path))
    if kind == "read-only":
        left = iter(range(int(rng.integers(0, 300))))

        def opened(name, mode="r", *more, **named):
            if "x" in mode and next(left, None) is None:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(name))
            return original(name, mode, *more, **named)

        original = builtins.open
        return lambda: (setattr(builtins, "open", opened), sweep(path))
    if kind == "clock jumps":
        ticks = np.random.default_rng(rng.integers(2**32))
        return lambda: (setattr(time, "time", lambda: float(ticks.uniform(0, 2**33))), sweep(path))
    return lambda: sweep(path)


def attack(kind: str, path: Path, rng: np.random.Generator, seconds: float) -> tuple[set[int], list[int]]:
    """One disturbance: the chunks that were said to be written, and the exit codes."""
    hear, say = os.pipe()
    pids = [child(disturbed(kind, path, rng), say) for _ in range(2 if kind.startswith("two") else 1)]
    os.close(say)
    said = b""
    if rng.uniform() < 0.8:  # else the process is killed while it starts, compiles, or makes the store
        said = os.read(hear, 4)
    survivors = pids[1:] if kind == "two processes, one killed" else []
    if kind not in ("full disk", "read-only", "truncated chunk"):
        time.sleep(rng.uniform(0, seconds))
        for pid in set(pids) - set(survivors):
            os.kill(pid, signal.SIGKILL)
    while more := os.read(hear, 2**12):
        said += more
    os.close(hear)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return {number for (number,) in struct.iter_unpack("i", said)}, codes


def tree(path: Path) -> dict[str, bytes]:
    """All files of a store but those that are on their way."""
    return {
        found.relative_to(path).as_posix(): found.read_bytes()
        for found in path.rglob("*")
        if found.is_file() and not found.name.startswith(".nqmjax-")
    }


def jump(path: Path, rng: np.random.Generator) -> None:
    """Give every file a random time."""
    for found in path.rglob("*"):
        stamp = rng.uniform(0, 2**32)
        os.utime(found, (stamp, stamp))


def truncate(path: Path, rng: np.random.Generator) -> bool | None:
    """Cut a chunk, look whether it is found, and let it be removed; None where there is no chunk."""
    chunks = sorted(found for found in path.glob("s*/c/**/*") if found.is_file() and not found.name.startswith("."))
    if not chunks:
        return None
    chosen = chunks[rng.integers(len(chunks))]
    chosen.write_bytes(chosen.read_bytes()[: rng.integers(chosen.stat().st_size)])
    name = chosen.relative_to(path)

    def look() -> None:
        found = check_store(path, repair=True)
        os._exit(0 if found.damaged == (name,) and not chosen.exists() else 1)

    return os.waitstatus_to_exitcode(os.waitpid(child(look), 0)[1]) == 0


def undisturbed(folder: Path) -> tuple[dict[str, bytes], float]:
    """The files of a store that nobody disturbs, and the seconds from its first chunk to its end."""
    path = folder / "undisturbed.zarr"
    for _ in range(2):  # the second time nothing is compiled
        shutil.rmtree(path, ignore_errors=True)
        hear, say = os.pipe()
        pid = child(lambda: sweep(path), say)
        os.close(say)
        os.read(hear, 4)
        start = time.perf_counter()
        while os.read(hear, 2**12):
            pass
        seconds = time.perf_counter() - start
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return tree(path), seconds


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    wanted = 7 if small else 200
    folder = Path(tempfile.mkdtemp())
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    zarr_for(folder)
    expected, seconds = undisturbed(folder)
    count, lost, different, unfound, finished = Counter(), Counter(), Counter(), Counter(), Counter()
    path = folder / "attacked.zarr"
    for key in itertools.takewhile(lambda _: count.total() < wanted, itertools.count()):
        rng = np.random.default_rng(key)
        kind = list(KINDS)[key % len(KINDS)]
        found = truncate(path, rng) if kind == "truncated chunk" else None
        unfound[kind] += found is False
        if kind == "clock jumps":
            jump(path, rng)
        before = tree(path) if path.exists() else {}
        said, codes = attack(kind, path, rng, seconds)
        assert set(codes) <= {0, 3, -signal.SIGKILL}, codes
        after = tree(path) if path.exists() else {}
        for number in said:
            before |= {name.relative_to(".").as_posix(): b"" for name in CHUNKS.files(number).values()}
        count[kind] += found is not None or any(codes)  # else all had ended before
        lost[kind] += len(before.keys() - after.keys())
        different[kind] += sum(expected.get(name) != data for name, data in after.items())
        if after.keys() == expected.keys():
            finished[kind] += 1
            shutil.rmtree(path)
        print(f"{count.total()} of {wanted}: {kind}, exit codes {codes}, {len(after)} of {len(expected)} files", flush=True)
    shutil.rmtree(folder)
    rows = [
        {
            "disturbance": f"{kind}: {what}",
            "times": count[kind],
            "files lost": lost[kind],
            "files with other bytes": different[kind],
            "damage not found": unfound[kind] if kind == "truncated chunk" else "",
            "after which the store was finished": finished[kind],
        }
        for kind, what in KINDS.items()
    ]
    report("kills", "an undisturbed run, byte for byte", rows, keep=not small)


if __name__ == "__main__":
    main()
