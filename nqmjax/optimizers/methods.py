"""The optimizers, each declared by its update: `g` is the gradient, `a` the learning rate, `beta` the momentum."""

from typing import Any

from nqmjax.optimizers.base import LinearOptimizer, State


class SGD(LinearOptimizer):
    """Stochastic gradient descent, `theta' = theta - a g`. Stable where `a h < 2`.

    Source: Zhang et al. 2019, eq. 2.

    >>> from nqmjax import power_law, risk
    >>> round(float(risk(power_law(10_000), SGD(0.5), batch_size=1024, steps=1000)), 4)
    0.9124
    """

    learning_rate: Any

    def change(self, state: State, gradient: Any) -> State:
        return (-self.learning_rate * gradient,)


class HeavyBall(LinearOptimizer):
    """Heavy-ball momentum, `m' = beta m + g`, `theta' = theta - a m'` (`optax.sgd(a, momentum=beta)`).

    Stable where `a h < 2 (1 + beta)`; effective learning rate `a / (1 - beta)`.

    Source: Zhang et al. 2019, eq. 5.

    >>> HeavyBall(0.1, 0.9)
    HeavyBall(learning_rate=0.1, momentum=0.9)
    """

    learning_rate: Any
    momentum: Any

    def initial(self, theta: Any) -> State:
        return theta, 0.0

    def change(self, state: State, gradient: Any) -> State:
        _, m = state
        m_change = gradient - (1 - self.momentum) * m
        return -self.learning_rate * (m + m_change), m_change

    @property
    def effective_learning_rate(self) -> Any:
        return self.learning_rate / (1 - self.momentum)


class Nesterov(LinearOptimizer):
    """Nesterov momentum as optax and PyTorch store it: `m' = beta m + g`, `theta' = theta - a (g + beta m')`.

    The stored iterate is the look-ahead point, where the gradient is taken too. Stable where
    `a h < 2 (1 + beta) / (1 + 2 beta)`; effective learning rate `a / (1 - beta)`.

    Source: Sutskever et al. 2013, in the form of `optax.sgd(a, momentum=beta, nesterov=True)`.

    >>> Nesterov(0.1, 0.9)
    Nesterov(learning_rate=0.1, momentum=0.9)
    """

    learning_rate: Any
    momentum: Any

    def initial(self, theta: Any) -> State:
        return theta, 0.0

    def change(self, state: State, gradient: Any) -> State:
        _, m = state
        m_change = gradient - (1 - self.momentum) * m
        return -self.learning_rate * (gradient + self.momentum * (m + m_change)), m_change

    @property
    def effective_learning_rate(self) -> Any:
        return self.learning_rate / (1 - self.momentum)


class QHM(LinearOptimizer):
    """Quasi-hyperbolic momentum, `m' = beta m + (1 - beta) g`, `theta' = theta - a ((1 - nu) g + nu m')`.

    `nu = 0` is SGD, `nu = 1` heavy ball of rate `a (1 - beta)`. Stable where
    `a h < 2 (1 + beta) / (1 + beta (1 - 2 nu))`; the effective learning rate is `a`.

    Source: Ma & Yarats 2019, "Quasi-hyperbolic momentum and Adam for deep learning", eq. 3 and 4.

    >>> QHM(1.0, 0.99, nu=0.7)
    QHM(learning_rate=1.0, momentum=0.99, nu=0.7)
    """

    learning_rate: Any
    momentum: Any
    nu: Any

    def initial(self, theta: Any) -> State:
        return theta, 0.0

    def change(self, state: State, gradient: Any) -> State:
        _, m = state
        m_change = (1 - self.momentum) * (gradient - m)
        return -self.learning_rate * ((1 - self.nu) * gradient + self.nu * (m + m_change)), m_change
