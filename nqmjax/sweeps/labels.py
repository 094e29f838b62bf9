"""Units and meanings of what tables of results hold."""

from typing import Any

import xarray as xr

from nqmjax.target import Status

UNITS = {
    "batch_size": "examples",
    "target": "loss",
    "steps": "updates",
    "examples": "examples",
    "bayes_steps": "updates",
    "flat_prior_steps": "updates",
    "critical_batch_size": "examples",
    "participation": "directions",
    "status": "0 reached, 1 never, 2 diverged, 3 out of steps",
}
"""Units of the variables of the tables of `sweep` and `tune`; hyperparameters are pure numbers."""


UNFINISHED = -1
"""The status of a cell of a store that is still to come."""


def with_units(table: xr.Dataset) -> xr.Dataset:
    """Attach the units of every variable and the meaning of the status codes."""
    for name in table.variables:
        table[name].attrs |= units_of(str(name))
    return table


def units_of(name: str, unfinished: bool = False) -> dict[str, Any]:
    """The attributes of a variable; with `unfinished`, its status may be that too."""
    units: dict[str, Any] = {"units": UNITS.get(name, "1")}
    if name == "status":
        codes = {int(code): code.name.lower() for code in Status}
        if unfinished:
            codes = {UNFINISHED: "unfinished", **codes}
            units["units"] = f"{UNFINISHED} unfinished, {units['units']}"
        units |= {"flag_values": list(codes), "flag_meanings": " ".join(codes.values())}
    return units
