"""The command line `nqmjax`."""

from nqmjax.cli.app import app, main

__all__ = ["app", "main"]
