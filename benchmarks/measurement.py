"""How exact a measurement of a linear regression is, and the time and memory of one of a network of 20,000 parameters."""

import jax.numpy as jnp
import numpy as np
from common import quick, report, spent
from memory import peak

import nqmjax as nq
from nqmjax.measure import measure

BATCHES = 2.0 ** np.arange(1, 11)
SIZES = (196, 96, 10)


def regression(dim: int, examples: int, seed: int) -> tuple[nq.NoisyQuadratic, nq.NoisyQuadratic]:
    """The measured problem of a linear regression at 0, and the exact one from dense matrices."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, dim)) * np.arange(1, dim + 1) ** -0.5
    y = x @ rng.normal(size=dim) + rng.normal(size=examples)
    data = np.float32(x), np.float32(y)
    found = measure(lambda w, x: x @ w, np.zeros(dim, np.float32), data, loss="squared_error", seed=seed, progress=False)
    values, vectors = np.linalg.eigh(x.T @ x / examples)
    gradients = (-x * y[:, None]) @ vectors
    initial = (gradients.mean(0) / values) ** 2
    least = 0.5 * ((y**2).mean() - values @ initial)
    return found.problem(), nq.from_spectrum(values, noise=gradients.var(0, ddof=1), initial=initial, irreducible=least)


def network(examples: int):
    """A perceptron with one hidden layer, and data whose labels another one gives."""
    rng = np.random.default_rng(0)
    inputs = np.float32(rng.normal(size=(examples, SIZES[0])) * np.arange(1, SIZES[0] + 1) ** -0.5)
    labels = (np.tanh(inputs @ rng.normal(size=SIZES[:2])) @ rng.normal(size=SIZES[1:])).argmax(1)
    params = [
        (np.float32(rng.normal(size=SIZES[:2]) / SIZES[0] ** 0.5), np.zeros(SIZES[1], np.float32)),
        (np.float32(rng.normal(size=SIZES[1:]) / SIZES[1] ** 0.5), np.zeros(SIZES[2], np.float32)),
    ]

    def apply(params, inputs):
        (first, shift), (last, end) = params
        return jnp.tanh(inputs @ first + shift) @ last + end

    return apply, params, (inputs, labels)


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    rows = []
    before = peak()
    apply, params, data = network(500 if small else 5000)
    for name in ("first", "second"):
        seconds, found = spent(lambda: measure(apply, params, data, loss="cross_entropy", progress=False))
        rows.append({"what": f"network, {name} call", "parameters": found.table.parameters, "examples": len(data[0])})
        rows[-1] |= {
            "processor seconds": seconds,
            "GiB more than before": peak() - before,
            "steps": "",
            "rates": "",
            "critical batch": "",
        }
    dim, examples = (30, 500) if small else (200, 5000)
    for seed in range(1 if small else 3):
        measured, exact = regression(dim, examples, seed)
        target = exact.irreducible + 0.05 * (exact.initial_risk - exact.irreducible)
        for name, method, fixed in (("SGD", nq.SGD(0.1), ()), ("momentum 0.9", nq.HeavyBall(0.1, 0.9), ("momentum",))):
            curves = [nq.tune(problem, method, BATCHES, target, fixed=fixed, progress=False) for problem in (measured, exact)]
            knees = [nq.critical_batch_size(curve).batch_size for curve in curves]
            ratios = [(curves[0][what] / curves[1][what]).values for what in ("steps", "learning_rate")]
            rows.append(
                {"what": f"regression {seed}, {name}", "parameters": dim, "examples": examples, "processor seconds": ""}
            )
            rows[-1] |= {"GiB more than before": ""}
            rows[-1] |= {key: f"{r.min():.3f} to {r.max():.3f}" for key, r in zip(("steps", "rates"), ratios, strict=True)}
            rows[-1] |= {"critical batch": f"{knees[0]:.4g} / {knees[1]:.4g}"}
    report("measurement", "tuned updates, rates and knees of the exact quadratic, from dense matrices", rows, keep=not small)


if __name__ == "__main__":
    main()
