"""Units and meanings of what tables of results hold."""

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


def with_units(table: xr.Dataset) -> xr.Dataset:
    """Attach the units of every variable and the meaning of the status codes."""
    for name in table.variables:
        table[name].attrs["units"] = UNITS.get(str(name), "1")
    if "status" in table:
        table["status"].attrs |= {
            "flag_values": [int(code) for code in Status],
            "flag_meanings": " ".join(code.name.lower() for code in Status),
        }
    return table
