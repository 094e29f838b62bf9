r"""The passages of the risk below a target, exactly; the risk need not be monotone.

Hop through time with certified bounds (`nqmjax.dynamics.intervals`): from a time whose risk is above the target, look
`2^l` updates ahead. If the lower bound exceeds the target, no crossing lies in between: hop there, and after two hops
in a row try twice as far. If it does not, halve the distance. A hop of one update has no interior, so its bound is the
risk itself and the answer is exact. Powers of two come from repeated squaring, kept in a table, so that a hop costs a
few multiplications per direction whatever its length.

Three things shorten the walk. The accumulated noise never decreases: once it alone exceeds the target, there is no
crossing any more. A time known to be at or below the target (met while squaring, or at the end of a failed hop) is
never looked beyond before it is passed. And at every time a smaller batch has the larger risk, so that the batch sizes
of one setting of the hyperparameters share one table and one walk, the largest first.

Where hops keep failing, because directions with two state variables swing through zero one after the other, strides through
the run with one bound for all of them show how far to go (`nqmjax.target.swings`): hops then only lead there.

For the rule "stays" the last update above the target is searched for from the end, from a time after which the upper
bound over all later updates is at or below the target: see `nqmjax.target.last`.
"""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.target.compiled import jit_searches
    from nqmjax.target.mean_field import check_rule, first_of_many
    from nqmjax.target.search import search, steps_to_target
    from nqmjax.target.table import MAX_STEPS, Status, StepsToTarget

exports(
    __name__,
    public={
        "search": ["steps_to_target"],
        "table": ["StepsToTarget", "Status"],
    },
    internal={
        "compiled": ["jit_searches"],
        "mean_field": ["check_rule", "first_of_many"],
        "search": ["search"],
        "table": ["MAX_STEPS"],
    },
)
