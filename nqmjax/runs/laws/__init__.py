"""Laws of the loss of training runs: the noisy quadratic system and its options, and the scaling laws of others."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.runs.laws.base import Inputs, Law, Scale, law_inputs, scale_of, starting_points
    from nqmjax.runs.laws.baselines import Chinchilla, Kaplan
    from nqmjax.runs.laws.catalogue import CANDIDATES, LAWS
    from nqmjax.runs.laws.quadratic import QuadraticLaw
    from nqmjax.runs.laws.sums import COARSE, FINE, Rule

exports(
    __name__,
    public={
        "base": ["Law"],
        "catalogue": ["LAWS", "CANDIDATES"],
        "quadratic": ["QuadraticLaw"],
        "baselines": ["Chinchilla", "Kaplan"],
    },
    internal={
        "base": ["Inputs", "Scale", "law_inputs", "scale_of", "starting_points"],
        "sums": ["COARSE", "FINE", "Rule"],
    },
)
