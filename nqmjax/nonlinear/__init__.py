"""What is not linear in the gradient: sampling with any optax optimizer."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.nonlinear.adaptive import Adam, AdamW, RMSprop
    from nqmjax.nonlinear.monte_carlo import monte_carlo, precondition
    from nqmjax.nonlinear.signs import Lion, SignSGD

exports(
    __name__,
    public={
        "adaptive": ["Adam", "AdamW", "RMSprop"],
        "signs": ["SignSGD", "Lion"],
        "monte_carlo": ["monte_carlo", "precondition"],
    },
)
