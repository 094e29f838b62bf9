"""`nqmjax store check`: whether a store is whole."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nqmjax import sweeps
from nqmjax._tools import require
from nqmjax.cli.options import OUTPUT

HELP = """\
Examples:

  nqmjax store check grid.zarr
  nqmjax store check grid.zarr --repair    # then the same sweep again

Exit code 2 where a file is damaged.
"""


command = App(name="check", help_epilogue=HELP)


@command.default
def run(
    store: Path,
    /,
    *,
    repair: Annotated[bool, Parameter(group=OUTPUT, negative=(), show_default=False)] = False,
) -> None:
    """Whether every file of a store of a sweep is whole.

    Reads all of it, and compares every file with its checksum.

    Args:
      store: Directory NAME.zarr of a sweep.
      repair: Remove damaged chunks, which the same sweep makes again, and leftovers; for a time when nobody writes.
    """
    found = sweeps.check_store(store, repair)
    print(f"{store}: {found.finished:,} of {found.chunks:,} chunks are finished and whole.")
    if found.finished + len(found.damaged) < found.chunks:
        print("The same sweep again goes on from there.")
    if found.leftovers:
        told = "removed" if repair else "harmless; --repair removes them when nobody writes"
        print(f"{len(found.leftovers):,} files that writers have left: {told}.")
    first = ", ".join(path.as_posix() for path in found.damaged[:3])
    remedy = "removed; run the same sweep again" if repair else "--repair removes chunks, and the same sweep makes them again"
    require(not found.damaged, "store", store, f"{len(found.damaged):,} damaged files, {first}: {remedy}")
