"""The commands: their options, their help and what they do."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.cli.commands.jobs import figure

exports(
    __name__,
    internal={
        "jobs": ["figure"],
    },
)
