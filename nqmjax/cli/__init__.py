"""The command line `nqmjax`."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.cli.app import app, main

exports(
    __name__,
    public={
        "app": ["app", "main"],
    },
)
