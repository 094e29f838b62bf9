r"""Weight decay that pulls towards the start: wrappers, as exact as the optimizers that they wrap.

The weights of a network are `w = theta + w*`, its optimum `w*` and the distance `theta` from it, and training starts near
`w = 0`: decay then pulls `theta` towards `theta_0 = -w*`, not towards the optimum. The start is one more state variable,
which never changes. The bias of a run does not vanish any more: it settles where the pull and the mean gradient balance,
along a direction of curvature `h` under a strength `lambda` at

    theta = theta_0 lambda / (h + lambda).

Decoupled decay is not amplified by momentum as the gradient is, from the learning rate `a` to the effective one `a_eff`:
there `lambda a / a_eff` stands for `lambda`, `lambda (1 - beta)` for heavy ball.
"""

from typing import Any, Self

from nqmjax.optimizers.base import LinearOptimizer, State, hyperparameters


class L2(LinearOptimizer):
    r"""L2 regularization: `strength (theta - theta_0)` is added to the gradient that `optimizer` is given.

    What `optimizer` does with gradients it does with the pull: momentum accumulates it, and
    `L2(Preconditioned(SGD(a), p), strength)` preconditions it while `Preconditioned(L2(SGD(a), strength), p)` does not.
    The pull is that of PyTorch's `weight_decay` of `SGD`, and of `optax.add_decayed_weights` ahead of the momentum.

    >>> from nqmjax import SGD, from_spectrum, stationary_risk
    >>> problem = from_spectrum([0.5], noise=0.0)
    >>> stationary_risk(problem, L2(SGD(0.1), strength=[0.0, 0.5]), batch_size=1)  # theta = theta_0 / 2 in the end
    array([0.    , 0.0625])

    Source: Krogh & Hertz 1991, "A simple weight decay can improve generalization".
    """

    optimizer: LinearOptimizer
    strength: Any

    def initial(self, theta: Any) -> State:
        return *self.optimizer.initial(theta), theta

    def change(self, state: State, gradient: Any) -> State:
        *inner, start = state
        return *self.optimizer.change(tuple(inner), gradient + self.strength * (state[0] - start)), 0.0

    def read(self, state: State) -> Any:
        return self.optimizer.read(state[:-1])

    def gradient_scale(self, curvature: Any) -> Any:
        return self.optimizer.gradient_scale(curvature)

    def along(self, curvature: Any) -> Self:
        return type(self)(self.optimizer.along(curvature), self.strength * self.optimizer.gradient_scale(curvature))

    @property
    def effective_learning_rate(self) -> Any:
        return self.optimizer.effective_learning_rate


class DecoupledWeightDecay(LinearOptimizer):
    r"""Decoupled weight decay: `theta - theta_0` shrinks by `learning_rate strength` of itself, then `optimizer` updates.

    The gradient is taken before, and neither momentum nor a preconditioner sees the pull; the rate is the optimizer's own:
    SGDW, as PyTorch's `AdamW` does it for Adam, and `optax.add_decayed_weights` after the momentum and ahead of the rate.

    >>> from nqmjax import HeavyBall, power_law, risk
    >>> optimizer = DecoupledWeightDecay(HeavyBall(0.1, 0.9), strength=0.01)
    >>> round(float(risk(power_law(100), optimizer, batch_size=64, steps=1000)), 4)
    0.0221

    Source: Loshchilov & Hutter 2019, "Decoupled weight decay regularization", algorithm 1.
    """

    optimizer: LinearOptimizer
    strength: Any

    def initial(self, theta: Any) -> State:
        return *self.optimizer.initial(theta), theta

    def change(self, state: State, gradient: Any) -> State:
        theta, *inner, start = state
        shrunk = -hyperparameters(self.optimizer)["learning_rate"] * self.strength * (theta - start)
        change, *others = self.optimizer.change((theta + shrunk, *inner), gradient)
        return shrunk + change, *others, 0.0

    def read(self, state: State) -> Any:
        return self.optimizer.read(state[:-1])

    def gradient_scale(self, curvature: Any) -> Any:
        return self.optimizer.gradient_scale(curvature)

    @property
    def effective_learning_rate(self) -> Any:
        return self.optimizer.effective_learning_rate
