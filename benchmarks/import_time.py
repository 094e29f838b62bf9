"""What importing nqmjax costs beyond importing jax, and that it leaves jax's configuration alone."""

import subprocess
import sys

import numpy as np
from common import quick, report

STATEMENTS = ("import jax", "import nqmjax", "import jax, nqmjax", "from nqmjax import *")
TIME = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
CONFIG = "import jax; before = dict(jax.config.values); {}; print(before == dict(jax.config.values))"


def fresh(program: str) -> str:
    """What a program prints in a new process."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    times = [[float(fresh(TIME.format(statement))) for statement in STATEMENTS] for _ in range(1 if small else 7)]
    medians = np.median(times, axis=0)
    rows = [
        {
            "statement": statement,
            "seconds": float(time),
            "more than jax": float(time - medians[0]),
            "jax.config unchanged": fresh(CONFIG.format(statement)),
        }
        for statement, time in zip(STATEMENTS, medians, strict=True)
    ]
    report("import_time", "import jax", rows, keep=not small)


if __name__ == "__main__":
    main()
