"""From a network to a quadratic: curvature, gradient noise and noise scales of a JAX loss on the user's data."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.measure.example import small_network
    from nqmjax.measure.inputs import check_number, check_params, checked_data, mean_loss, shape_of
    from nqmjax.measure.losses import check_targets
    from nqmjax.measure.measurement import Measurement, measure
    from nqmjax.measure.products import curvature_product, dataset_loss

exports(
    __name__,
    public={
        "measurement": ["measure", "Measurement"],
        "products": ["curvature_product", "dataset_loss"],
    },
    internal={
        "example": ["small_network"],
        "inputs": ["check_number", "check_params", "checked_data", "mean_loss", "shape_of"],
        "losses": ["check_targets"],
    },
)
