"""What a user declares is linear, does not vary in time and has the state that it says: the rest is refused with its reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import OPTIMIZERS, AggMo

import nqmjax as nq
from nqmjax.optimizers.declaration import check_optimizer, find_fault, find_fault_in_tracing

PROBLEM = nq.power_law(6)


def declare(change, initial=None, read=None):
    """An optimizer of one rate with these functions of itself and the rest."""

    class Declared(nq.LinearOptimizer):
        rate: float

    for name, function in {"change": change, "initial": initial, "read": read}.items():
        if function is not None:
            setattr(Declared, name, function)
    return Declared(0.1)


def two(self, theta):
    return theta, 0.0


def three(self, theta):
    return theta, theta, 0.0


def counted_lookahead(self, state, gradient):
    theta, slow, count = state
    sync = jnp.where(jnp.mod(count + 1, 5) == 0, 1.0, 0.0)
    pull = sync * 0.5 * (theta - self.rate * gradient - slow)
    return -self.rate * gradient - sync * (theta - self.rate * gradient - slow - pull), pull, 1.0


def cautious(self, state, gradient):
    moved = 0.9 * state[1] + gradient
    return -self.rate * jnp.where(moved * gradient > 0, moved, 0.0), moved - state[1]


def mixed(reduce):
    return lambda self, state, gradient: (-self.rate * (gradient - reduce(gradient)),)


def step(function):
    """A method without state that moves by a function of the gradient."""
    return lambda self, state, gradient: (-self.rate * function(gradient),)


def sgd(self, state, gradient):
    return (-self.rate * gradient,)


rng = np.random.default_rng(0)
REFUSED = {
    "lookahead with a counter": (declare(counted_lookahead, three), r"change is \(0, 0, 1\) where all else is zero: a counter"),
    "bias correction": (
        declare(lambda self, state, gradient: (-self.rate * gradient, -0.1 * state[1]), lambda self, theta: (theta, 1.0)),
        r"initial is \(0, 1\) where all else is zero: a counter, a bias correction",
    ),
    "constant pull": (declare(step(lambda g: g + 1e-6)), "where all else is zero: .* a constant pull"),
    "clip": (declare(step(lambda g: jnp.clip(g, -1, 1))), "change is not linear in the gradient: clipping"),
    "clip of large gradients only": (declare(step(lambda g: jnp.clip(g, -1e9, 1e9))), "not linear in the gradient"),
    "dead zone": (declare(step(lambda g: jnp.where(abs(g) < 1e-9, 0, g))), "not linear in the gradient"),
    "clip at a tiny rate": (declare(step(lambda g: 1e-14 * jnp.clip(g, -1, 1))), "not linear in the gradient"),
    "sign": (declare(step(np.sign)), "not linear in the gradient"),
    "half of the signs": (declare(step(lambda g: np.maximum(g, 0))), "not linear in the gradient"),
    "weak cubic": (declare(step(lambda g: g + 1e-12 * g**3)), "not linear in the gradient"),
    "square of the state": (declare(lambda self, s, g: (-self.rate * (g + 0.1 * s[0] * abs(s[0])),)), r"linear in state\[0\]"),
    "cautious": (declare(cautious, two), r"not linear in state\[0\], state\[1\], the gradient together: .* a comparison"),
    "product": (declare(lambda self, s, g: (-self.rate * g * s[0],)), "not linear in"),
    "norm": (declare(step(lambda g: g / jnp.linalg.norm(g))), "change of one direction depends on the others: a norm"),
    "mean": (declare(mixed(np.mean)), "change of one direction depends on the others"),
    "randomness": (declare(step(lambda g: g * rng.uniform())), "change differs from call to call: randomness"),
    "scored by a nonlinear reading": (declare(sgd, read=lambda self, s: np.clip(s[0], -1, 1)), r"read is not linear in state"),
    "start of its own": (declare(sgd, initial=lambda self, theta: (theta + 1,)), r"initial is \(1\) where all else is zero"),
    "start elsewhere": (declare(sgd, initial=lambda self, theta: (0.5 * theta,)), "first entry of its initial is not theta"),
    "too few entries": (declare(sgd, two), "change returns a tuple of length 1: give a tuple with one entry for each of the 2"),
    "no tuple": (declare(lambda self, s, g: -self.rate * g), "change returns .*: give a tuple"),
    "start without tuple": (declare(sgd, initial=lambda self, theta: theta), "initial returns .*: give a tuple"),
    "text": (declare(lambda self, s, g: ("down",)), "entry 0 of what its change returns is 'down': give numbers"),
    "nothing": (declare(lambda self, s, g: (None,)), "entry 0 of what its change returns is None: give numbers"),
    "another shape": (declare(step(lambda g: jnp.zeros((3,)))), r"has the shape \(3,\): keep that of the gradient"),
    "NaN": (declare(step(lambda g: np.log(-1.0) * g)), "change gives NaN"),
    "branch": (declare(lambda self, s, g: (-self.rate * g,) if self.rate > 0 else (g,)), "branches on a value.*jnp.where"),
    "exception": (declare(lambda self, s, g: (s[3],)), "declaration raises IndexError: tuple index out of range"),
    "undeclared": (declare(None), "NotImplementedError: Declared must declare change"),
    "wrapped": (nq.Averaged(nq.Preconditioned(declare(step(np.sign)), 0.5), 0.9), "not linear in the gradient"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_a_linear_system_is_refused_with_the_reason(name):
    optimizer, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"^optimizer is .*{message}"):
        nq.risk(PROBLEM, optimizer, 4, 10)


@pytest.mark.parametrize("name", ["lookahead with a counter", "clip", "cautious", "norm", "too few entries"])
def test_traced_hyperparameters_are_no_way_around(name):
    optimizer, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        jax.jit(jax.grad(lambda optimizer: nq.risk(PROBLEM, optimizer, 4, 10)))(optimizer)


def test_values_that_hide_a_nonlinearity_are_no_way_around():
    class Clipped(nq.LinearOptimizer):
        learning_rate: float
        threshold: float

        def change(self, state, gradient):
            return (-self.learning_rate * jnp.clip(gradient, -self.threshold, self.threshold),)

    for optimizer in (Clipped(0.0, 1.0), Clipped(0.1, 1e300), Clipped([0.0, 0.1], 1.0)):
        with pytest.raises(ValueError, match="not linear in the gradient"):
            check_optimizer(optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("rate", [0.0, 1e-300, 1e-12, 0.3, 1e8, 1e300])
def test_linear_methods_pass_at_extreme_values(name, rate):
    rng = np.random.default_rng(1)
    for _ in range(3):
        leaves, structure = jax.tree.flatten(OPTIMIZERS[name](rng, rate))
        assert find_fault(structure, tuple(map(float, leaves))) is None
        extreme = tuple(1 - 1e-12 if 0.9 < leaf < 1 else leaf for leaf in leaves)
        assert find_fault(structure, extreme) is None
    assert find_fault_in_tracing(structure) is None


def test_a_moving_average_written_with_cancellation_passes():
    class Written(nq.LinearOptimizer):
        rate: float
        decay: float

        def initial(self, theta):
            return theta, theta

        def change(self, state, gradient):
            theta, average = state
            return -self.rate * gradient, self.decay * average + (1 - self.decay) * theta - average

        def read(self, state):
            return state[1]

    for decay in (0.9, 1 - 1e-6, 1 - 1e-12):
        check_optimizer(Written(0.1, decay))


def test_what_only_jax_arrays_can_do_passes():
    check_optimizer(declare(step(lambda gradient: gradient.at[...].multiply(2.0))))


def test_an_optimizer_without_hyperparameters():
    class Fixed(nq.LinearOptimizer):
        def change(self, state, gradient):
            return (-0.1 * gradient,)

    same = nq.SGD(0.1)
    assert nq.risk(PROBLEM, Fixed(), [4, 8], 10) == pytest.approx(nq.risk(PROBLEM, same, [4, 8], 10), rel=1e-14)
    assert nq.risk(PROBLEM, nq.Averaged(Fixed(), 0.5), 4, 10) == pytest.approx(
        nq.risk(PROBLEM, nq.Averaged(same, 0.5), 4, 10), rel=1e-14
    )
    assert nq.steps_to_target(PROBLEM, Fixed(), 4, 1.0).steps == nq.steps_to_target(PROBLEM, same, 4, 1.0).steps
    assert nq.stationary_risk(PROBLEM, Fixed(), 4) == pytest.approx(nq.stationary_risk(PROBLEM, same, 4), rel=1e-14)
    with pytest.raises(ValueError, match="hyperparameter is 'rate': this optimizer has none"):
        Fixed().replace(rate=0.1)


def test_a_declaration_is_tried_once_for_many_questions():
    calls = []

    class Counted(AggMo):
        def change(self, state, gradient):
            calls.append(gradient)
            return super().change(state, gradient)

    optimizer = Counted(np.geomspace(0.01, 0.1, 5), 0.9, 0.0)
    check_optimizer(optimizer)
    first = len(calls)
    for _ in range(3):
        check_optimizer(optimizer)
    assert len(calls) == first <= 12


BAD = {
    "nothing": (lambda: nq.SGD(None), "learning_rate is None: give a number"),
    "text": (lambda: nq.HeavyBall("0.1", 0.9), "learning_rate is '0.1': give a number"),
    "object": (lambda: nq.QHM(0.1, object(), 1), "momentum is <object.*>: give a number"),
    "ragged": (lambda: nq.SGD([[0.1, 0.2], [0.3]]), r"learning_rate is \[\[0.1, 0.2\], \[0.3\]\]: give a number or an array"),
    "list of text": (lambda: nq.SGD(["a"]), r"learning_rate is \['a'\]: give a number"),
    "optimizer for a rate": (lambda: nq.SGD(nq.SGD(0.1)), r"learning_rate is SGD\(learning_rate=0.1\): give a number"),
    "rate for an optimizer": (
        lambda: nq.Preconditioned(0.1, 0.5),
        "optimizer is 0.1: Preconditioned wraps a linear optimizer",
    ),
    "text for an optimizer": (lambda: nq.Averaged("x", 0.9), "optimizer is 'x': Averaged wraps a linear optimizer, give one"),
    "class for an optimizer": (lambda: nq.Averaged(nq.SGD, 0.9), "optimizer is <class .*: Averaged wraps a linear optimizer"),
    "deep": (lambda: nq.Averaged(nq.Preconditioned(nq.SGD(None), 0.5), 0.9), "learning_rate is None"),
    "no optimizer": (lambda: 0.1, "optimizer is 0.1: give one, for example SGD"),
    "nan among many": (lambda: nq.SGD(np.full(10**6, np.nan)), r"learning_rate\[0\] is nan: give a finite rate"),
    "many words": (lambda: nq.SGD(np.array(["a"] * 10**6)), r"learning_rate is \[a, a, .. a\] \(shape \(1000000,\)\): give"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_hyperparameters_are_named(name):
    make, message = BAD[name]
    with pytest.raises(ValueError, match=f"^{message}") as error:
        check_optimizer(make())
    assert len(str(error.value)) < 250


def test_optimizers_still_serve_as_trees_of_axes():
    rates = jnp.array([0.1, 0.2])
    axes = nq.HeavyBall(0, None)  # pyright: ignore[reportArgumentType]
    batched = jax.vmap(lambda optimizer: nq.risk(PROBLEM, optimizer, 4, 10), in_axes=(axes,))(nq.HeavyBall(rates, 0.9))
    expected = nq.risk(PROBLEM, nq.HeavyBall(rates, 0.9), 4, 10, dtype="float32")
    np.testing.assert_allclose(batched, expected, rtol=1e-5)
