r"""Many updates in pieces with constant hyperparameters: the second moments of every direction, from piece to piece.

A piece of `n` updates maps the second moments `M` of a direction's state, each update adding the noise `c b b^T / B`:

    M  ->  A_n M A_n^T + N_n / B,      A_2n = A_n^2,      N_2n = N_n + A_n N_n A_n^T,      N_1 = c b b^T.

`risks_of_pieces` does this in numbers of twice the precision (`twofold`): a plan may explode in one piece and come back in
the next. `quick_risks_of_pieces` is for searches that evaluate thousands of plans which stay below the stability edge: in the
usual precision, with `E_n = A_n - I` in place of `A_n`, which keeps slow directions apart from 1 but not strong contractions.
"""

from typing import Any

import jax
import jax.numpy as jnp

from nqmjax.dynamics import twofold
from nqmjax.dynamics.loss_noise import LONGEST, risks_of_pieces_under_loss_noise
from nqmjax.dynamics.matrices import outer, product, quadratic, sandwich, square
from nqmjax.dynamics.mean_field import mean_field_risks_of_pieces
from nqmjax.dynamics.model import Model, build_model, risk_of_squares, unit_plus
from nqmjax.dynamics.twofold import Twofold, act, dot, transpose, where
from nqmjax.optimizers import MeanFieldOptimizer


def doublings(steps: int) -> int:
    """Doublings that pieces of up to so many updates need, in steps of four, so that few lengths compile anew."""
    return min(32, -(-steps.bit_length() // 4) * 4)


def risks_of_pieces(problem: Any, optimizer: Any, inverse_batch: Any, steps: Any, levels: Any) -> jax.Array:
    """Risks `(pieces + 1,)`, of hyperparameters, `1 / B` and unsigned `steps` of shape `(pieces,)`; traceable.

    `levels` is at least the bits of the longest piece: an `int`, and the risks can be differentiated backwards, or an
    unsigned array, and one program serves pieces of any length. Optimizers that are not linear are followed by their
    closure, which can be differentiated forwards.
    """
    if isinstance(optimizer, MeanFieldOptimizer):
        return mean_field_risks_of_pieces(problem, optimizer, inverse_batch, steps)
    if problem.follows_loss:
        length = min(LONGEST, 2**levels) if isinstance(levels, int) else None
        return risks_of_pieces_under_loss_noise(
            problem, optimizer, inverse_batch, jnp.asarray(steps).astype(jnp.uint32), length
        )
    steps, model = jnp.asarray(steps).astype(jnp.uint32), _model(problem, optimizer, steps)
    moved, added = repeated(*moments_of_update(model), steps[:, None], levels)

    def piece(moments: Twofold, maps: Any) -> tuple[Twofold, jax.Array]:
        matrix, noise, read = maps
        moments = congruence(matrix, moments) + noise
        return moments, risk_of_squares(model, jnp.maximum(dot(read, act(moments, read)).rounded, 0))

    start, maps = _start(model), (moved, Twofold.of(inverse_batch[:, None]) * added, Twofold.of(model.read))
    maps = tuple(_pieces_first(entry) for entry in maps)
    _, risks = jax.lax.scan(piece, Twofold.of(start), maps)
    return _with_start(model, start, risks)


def quick_risks_of_pieces(problem: Any, optimizer: Any, inverse_batch: Any, steps: Any, levels: Any) -> jax.Array:
    """The same as `risks_of_pieces`, for linear optimizers and plans below the stability edge; traceable."""
    steps, model = jnp.asarray(steps).astype(jnp.uint32), _model(problem, optimizer, steps)

    def bit(_: Any, carry: Any) -> Any:
        moved, added, increment, noise, left = carry
        odd = left & 1 == 1
        added = jnp.where(odd, noise + sandwich(increment, added), added)
        moved = jnp.where(odd, moved + increment + product(increment, moved), moved)
        increment, noise = (jnp.where(left > 1, entry, 0) for entry in (increment, noise))  # see above
        return (moved, added, square(increment), noise + sandwich(increment, noise), left >> 1)

    zero = jnp.zeros_like(model.increment)
    carry = (zero, zero, model.increment, model.noise * outer(model.kick), steps[:, None])
    moved, added = jax.lax.fori_loop(*_loop(levels), jax.checkpoint(bit), carry)[:2]

    def piece(moments: jax.Array, maps: Any) -> tuple[jax.Array, jax.Array]:
        increment, noise, read = maps
        moments = sandwich(increment, moments) + noise
        return moments, risk_of_squares(model, quadratic(moments, read))

    start, maps = _start(model), (moved, added * inverse_batch[:, None], model.read)
    _, risks = jax.lax.scan(piece, start, tuple(_pieces_first(entry) for entry in maps))
    return _with_start(model, start, risks)


def _model(problem: Any, optimizer: Any, steps: Any) -> Model:
    """The model of all pieces, at batch size 1."""
    return build_model(problem, optimizer, jnp.ones(()), jnp.shape(steps))


def moments_of_update(model: Model) -> tuple[Twofold, Twofold]:
    """What an update does to second moments: its map, and the noise that it adds."""
    kick = Twofold.of(model.kick)
    return unit_plus(model.increment), Twofold.of(model.noise) * (kick[:, None] * kick[None])


def repeated(matrix: Twofold, noise: Twofold, times: jax.Array, levels: Any) -> tuple[Twofold, Twofold]:
    """The map and the noise of so many repetitions, unsigned integers of at most `levels` bits; see `risks_of_pieces`."""

    def bit(_: Any, carry: Any) -> Any:
        moved, added, matrix, noise, left = carry
        odd = left & 1 == 1
        added = where(odd, noise + congruence(matrix, added), added)
        moved = where(odd, twofold.product(matrix, moved), moved)
        # Where nothing is left to do, double zeros: an overflow there would spoil gradients.
        matrix, noise = (jax.tree.map(lambda part: jnp.where(left > 1, part, 0), entry) for entry in (matrix, noise))
        return (moved, added, twofold.product(matrix, matrix), noise + congruence(matrix, noise), left >> 1)

    zero = jnp.zeros_like(matrix.high)
    carry = (unit_plus(zero), Twofold.of(zero), matrix, noise, times)
    return jax.lax.fori_loop(*_loop(levels), jax.checkpoint(bit), carry)[:2]


def _loop(levels: Any) -> tuple[Any, Any]:
    """Bounds of a loop over the levels."""
    return (0, levels) if isinstance(levels, int) else (jnp.zeros_like(levels), levels)


def congruence(matrix: Twofold, inner: Twofold) -> Twofold:
    """`A P A^T`."""
    return twofold.product(matrix, twofold.product(inner, transpose(matrix)))


def _pieces_first(entry: Any) -> Any:
    """The axis of the pieces, which stands before that of the directions, in front."""
    return jax.tree.map(lambda part: jnp.moveaxis(part, -2, 0), entry)


def _start(model: Model) -> jax.Array:
    """Second moments at the start, shape `(m, m, n)`."""
    return model.initial * outer(model.start[:, 0])


def _with_start(model: Model, start: jax.Array, risks: jax.Array) -> jax.Array:
    """Risks after the pieces, with the initial one in front."""
    return jnp.concatenate([risk_of_squares(model, quadratic(start, model.read[:, 0]))[None], risks])
