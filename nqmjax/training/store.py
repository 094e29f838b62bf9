"""Runs in a folder, a small file for each optimizer, batch size and seed: what is there is not trained again."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nqmjax._tools import as_path, reading, require, write_atomically

CLOSE = 1e-4
"""Relative difference of numbers of two specifications that is rounding on another machine."""


class Store:
    """A folder of runs made to one specification.

    Args:
      folder: its path; it is made if it is not there.
      spec: what all runs in it have in common, by name.

    Raises:
      ValueError: the folder cannot be made or written to.
    """

    def __init__(self, folder: str | os.PathLike, spec: Mapping[str, Any]) -> None:
        self.folder, self.spec = as_path(folder), dict(spec)
        remedy = "give the name of a folder that can be written to"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            require(False, "folder", self.folder, f"{error.strerror}; {remedy}")
        require(os.access(self.folder, os.W_OK | os.X_OK), "folder", folder, remedy)

    def path(self, label: str, batch_size: int, seed: int) -> Path:
        """The file of the runs of one optimizer, batch size and seed."""
        plain = re.sub(r"[^A-Za-z0-9_.=-]", "-", label)
        told = plain if plain == label else f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        return self.folder / f"{told}_{batch_size}_{seed}.npz"

    def load(self, label: str, batch_size: int, seed: int, cell: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Runs that are there, None if they are not.

        Raises:
          ValueError: they were made to another specification; the message says how it differs.
        """
        path = self.path(label, batch_size, seed)
        if not path.exists():
            return None
        with reading(path), np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
            made = json.loads(str(found.pop("spec")))
        for name, value in {**self.spec, **cell, "optimizer": label}.items():
            same = _same(made.get(name), json.loads(json.dumps(value)))
            remedy = (
                f"its runs in {path.name} have {name} {_short(made.get(name))}, and not {_short(value)}: give another folder"
            )
            require(same, "folder", self.folder, remedy)
        return found

    def save(self, label: str, batch_size: int, seed: int, cell: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Keep runs, whole or not at all."""
        spec = np.array(json.dumps({**self.spec, **cell, "optimizer": label}))
        path, everything = self.path(label, batch_size, seed), {"spec": spec, **arrays}
        write_atomically(path, lambda temporary: np.savez_compressed(temporary, **everything), force=True)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    numbers = all(isinstance(value, int | float) for value in (one, other))
    if numbers and not isinstance(one, int):
        return bool(np.isclose(one, other, rtol=CLOSE))
    return one == other


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:40]} ... {text[-12:]}"
