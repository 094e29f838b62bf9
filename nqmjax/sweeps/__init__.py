"""Steps to target over grids: the outer product of settings (`grid`), and many searches at once (`lanes`)."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.sweeps.devices import local_devices
    from nqmjax.sweeps.grid import sweep
    from nqmjax.sweeps.labels import with_units
    from nqmjax.sweeps.lanes import check_search, search_lanes

exports(
    __name__,
    public={
        "grid": ["sweep"],
    },
    internal={
        "devices": ["local_devices"],
        "labels": ["with_units"],
        "lanes": ["check_search", "search_lanes"],
    },
)
