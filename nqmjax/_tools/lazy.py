"""Folders whose names are loaded when they are first used: importing nqmjax costs little more than importing jax."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

Names = Mapping[str, Sequence[str]]
"""Names by the file, or folder, that defines them."""

NONE: Names = MappingProxyType({})


class LazyFolder(ModuleType):
    """A package that loads a file when a name is asked for which the file defines.

    A function may have the name of its file: `nqmjax.runs.fit` is the function, whoever imported the file before.
    """

    _home: dict[str, str]
    _packages: tuple[str, ...]

    def __getattr__(self, name: str) -> Any:
        if name in self._packages:
            return importlib.import_module(f"{self.__name__}.{name}")
        if name not in self._home:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{self.__name__}.{self._home[name]}"), name)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import of a file ends with the file becoming an attribute of its folder.
        if isinstance(value, ModuleType) and self._home.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *self.__all__, *self._packages})


def exports(folder: str, public: Names = NONE, internal: Names = NONE, packages: Sequence[str] = ()) -> None:
    """Let a folder give these names, each loaded when it is first used; called by the folder's `__init__`.

    Args:
      folder: the `__name__` of the package.
      public: names for users, which `dir` and `import *` show.
      internal: names for other folders of nqmjax.
      packages: folders within it that are loaded in the same way.
    """
    module: Any = sys.modules[folder]
    names = vars(module)
    names["_home"] = {name: file for table in (public, internal) for file, found in table.items() for name in found}
    names["_packages"] = tuple(packages)
    names["__all__"] = [name for found in public.values() for name in found]
    module.__class__ = LazyFolder
