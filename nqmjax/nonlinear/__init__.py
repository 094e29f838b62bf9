"""What is not linear in the gradient: sampling with any optax optimizer."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.nonlinear.monte_carlo import monte_carlo, precondition

exports(
    __name__,
    public={
        "monte_carlo": ["monte_carlo", "precondition"],
    },
)
