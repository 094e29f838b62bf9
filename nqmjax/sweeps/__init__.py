"""Steps to target over grids: the outer product of settings, on all devices, in memory or in a store on disk."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.sweeps.grid import sweep
    from nqmjax.sweeps.labels import UNFINISHED, with_units
    from nqmjax.sweeps.lanes import check_search, search_lanes
    from nqmjax.sweeps.queries import best_cells, count_statuses
    from nqmjax.sweeps.store import open_store
    from nqmjax.sweeps.store_check import StoreCheck, check_store
    from nqmjax.sweeps.store_spec import differences, problem_specification, values_text

exports(
    __name__,
    public={
        "grid": ["sweep"],
        "store": ["open_store"],
        "store_check": ["check_store", "StoreCheck"],
        "queries": ["best_cells"],
    },
    internal={
        "labels": ["UNFINISHED", "with_units"],
        "lanes": ["check_search", "search_lanes"],
        "queries": ["count_statuses"],
        "store_spec": ["differences", "problem_specification", "values_text"],
    },
)
