"""Adam on coordinates that mix all eigenvectors: its closure against dense rotated quadratics that optax trains."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import quick, report

import nqmjax as nq

DIM, UPDATES, RUNS = 1000, 300, 32
METHODS = {
    "Adam (0.9, 0.999)": (nq.Adam, optax.adam, {}),
    "Adam (0.9, 0.95)": (nq.Adam, functools.partial(optax.adam, b2=0.95), {"beta2": 0.95}),
}


def main() -> None:
    small = quick(__doc__ or "")
    batches, rates, dim = ([64.0], [0.01], 100) if small else (4.0 ** np.array([0, 3, 6, 8, 10]), [0.003, 0.03], DIM)
    rows = []
    for name, rate in itertools.product(list(METHODS)[: 1 if small else None], rates):
        row = {"method": name, "rate": str(rate)}
        for batch in batches:
            row[f"B = {batch:.0f}"] = "{:.1f}%, aligned {:.0f}%".format(*errors(name, rate, batch, dim))
        rows.append(row)
        print(row, flush=True)
    report("rotated", f"{RUNS} runs on dense random rotations of {DIM} directions, driven by optax", rows, keep=not small)


def errors(name: str, rate: float, batch: float, dim: int) -> list[float]:
    """Per cent: the largest relative errors of the risk along the run, of both limits."""
    kind, _, others = METHODS[name]
    problem = nq.power_law(dim)
    with jax.enable_x64():
        runs = np.asarray(trained(jax.random.key(0), name, rate, batch, rotation(dim)))
    curves = [nq.risk_curve(problem, kind(rate, basis=basis, **others), batch, UPDATES)[1:] for basis in ("rotated", "aligned")]
    return [100 * float(np.abs(curve / runs - 1).max()) for curve in curves]


@functools.cache
def rotation(dim: int) -> np.ndarray:
    """A random orthogonal matrix, eigenvectors in its columns."""
    matrix, corner = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))
    return matrix * np.sign(np.diag(corner))


@functools.partial(jax.jit, static_argnames=("name", "rate"))
def trained(key: jax.Array, name: str, rate: float, batch: float, axes: jax.Array) -> jax.Array:
    """Mean risks of runs that start at random signs: the risk of a start is then the expected one."""
    h = 1 / jnp.arange(1, len(axes) + 1.0)
    transformation = METHODS[name][1](rate)

    def update(carry: tuple, step: jax.Array) -> tuple:
        x, state = carry
        noise = jnp.sqrt(h / batch) * jax.random.normal(jax.random.fold_in(key, step), x.shape)
        change, state = transformation.update((x @ axes * h + noise) @ axes.T, state, x)
        x = x + change
        return (x, state), 0.5 * (h * (x @ axes) ** 2).sum(1).mean()

    start = jax.random.rademacher(jax.random.fold_in(key, UPDATES), (RUNS, len(axes)), h.dtype) @ axes.T
    return jax.lax.scan(update, (start, transformation.init(start)), jnp.arange(UPDATES))[1]


if __name__ == "__main__":
    main()
