"""Small networks trained as the papers trained large ones: what `nqmjax figure 5`, `smith-1`, `gao-10` and others draw.

Piece by piece; runs are kept in `--folder`, so that an interrupted program goes on where it was. The tables go to
`nqmjax/figures/trained/`, where the figures find them. `--full` has more seeds, `--quick` is a trial that leaves no table.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from real_batches import first_epochs, layer_rates
from real_budgets import constant_epochs, constant_updates, epoch_budgets
from real_settings import Settings
from real_targets import to_target

import nqmjax

TABLES = Path(nqmjax.__file__).parent / "figures" / "trained"


class Piece(NamedTuple):
    """What makes a table, and how many seeds it has, usually and in full."""

    make: Callable[[Settings], xr.Dataset]
    seeds: tuple[int, int]


PIECES = {
    "to_target": Piece(to_target, (4, 8)),
    "constant_epochs": Piece(constant_epochs, (4, 16)),
    "constant_updates": Piece(constant_updates, (4, 16)),
    "epoch_budgets": Piece(epoch_budgets, (4, 16)),
    "first_epochs": Piece(first_epochs, (4, 16)),
    "layer_rates": Piece(layer_rates, (4, 16)),
}
"""Zhang et al.; Smith et al., sections 3, 4 and 5; Gao & Zhong, sections 3 and 4."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", nargs="*", default=list(PIECES), choices=list(PIECES))
    parser.add_argument("--folder", type=Path, default=Path("real-training"), help="where runs are kept")
    parser.add_argument("--full", action="store_true", help="more seeds and batch sizes: some hours")
    parser.add_argument("--quick", action="store_true", help="tiny runs; leaves no tables")
    options = parser.parse_args()
    for name in options.pieces:
        piece = PIECES[name]
        seeds = 2 if options.quick else piece.seeds[options.full]
        table = piece.make(Settings(options.folder / name, seeds, options.quick, options.full))
        print(table, flush=True)
        if not options.quick:
            TABLES.mkdir(exist_ok=True)
            write(table.assign_attrs(seeds=seeds), TABLES / f"{name}.nc")


def write(table: xr.Dataset, path: Path) -> None:
    """A small file: numbers of 32 bits, compressed."""
    small = table.map(lambda values: values.astype(np.float32) if values.dtype == np.float64 else values, keep_attrs=True)
    packed = {name: {"zlib": True, "complevel": 9} for name, values in small.data_vars.items() if values.size > 64}
    small.to_netcdf(path, engine="h5netcdf", encoding=packed)


if __name__ == "__main__":
    main()
