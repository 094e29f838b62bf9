"""The problem: a spectrum, its gradient noise and its starting point; from a law, from numbers, from files."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.problem.checks import check_problem, refuse_loss_noise
    from nqmjax.problem.files import read_spectrum
    from nqmjax.problem.quadratic import NoisyQuadratic, noise_of_the_run
    from nqmjax.problem.spectra import from_spectrum, least_squares, power_law, with_loss_noise

exports(
    __name__,
    public={
        "quadratic": ["NoisyQuadratic"],
        "spectra": ["power_law", "from_spectrum", "least_squares"],
        "files": ["read_spectrum"],
    },
    internal={
        "checks": ["check_problem", "refuse_loss_noise"],
        "quadratic": ["noise_of_the_run"],
        "spectra": ["with_loss_noise"],
    },
)
