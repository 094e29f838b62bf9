"""Compiled programs kept on disk between processes: JAX's persistent compilation cache, in a directory of our own.

An entry is found by the program, the options of the compiler, the versions of jaxlib and XLA and the kind of processor, so
that a wrong one is never taken. Two processes may use a directory at once: who reads what another is still writing compiles.
Entries are code, and trusted, so that the directory is for its owner alone.
"""

import importlib.metadata
import os
import re
import tempfile
from pathlib import Path

from nqmjax._tools.writing import as_path

VARIABLE = "NQMJAX_CACHE"
"""Environment variable that names another directory, or one of `OFF`."""

OFF = ("", "0", "off", "no", "none", "false")

LARGEST = 512 * 2**20
"""Bytes above which the entries that were not used for the longest time are removed, down to half of it."""

SETTINGS = {"jax_persistent_cache_min_compile_time_secs": 0, "jax_persistent_cache_min_entry_size_bytes": -1}
"""Keep every program: reading a small one, too, takes less time than compiling it."""


def use_compilation_cache(directory: str | os.PathLike | None = None) -> Path:
    """Keep what JAX compiles from now on, on disk: later processes read it instead of compiling it again.

    The results are the same bit for bit. This sets JAX's configuration of this process, in which everything is kept that JAX
    compiles, other packages' programs too. At most about 512 MB are kept; what was not used for the longest time goes first.

    Args:
      directory: where; by default what the environment variable `NQMJAX_CACHE` names, else the user's cache directory.

    Returns:
      the directory in use, within `directory`; to be free of it, delete it.

    Raises:
      ValueError: the directory cannot be written.

    >>> import nqmjax
    >>> nqmjax.use_compilation_cache()  # doctest: +SKIP
    PosixPath('/home/me/.cache/nqmjax/0.1.0-jaxlib-0.10.2')
    """
    import jax  # the command line names a directory before it loads JAX

    # JAX writes where it first wrote until it is told to begin anew.
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    root = _root() if directory is None else as_path(directory)
    try:
        folder = prepared(root)
    except OSError as error:
        raise ValueError(f"directory is {root}: {error.strerror or error}; choose one that can be written") from None
    if jax.config.jax_compilation_cache_dir not in (None, str(folder)):  # pyright: ignore[reportAttributeAccessIssue]
        reset_cache()
    for name, value in {"jax_compilation_cache_dir": str(folder), **SETTINGS}.items():
        jax.config.update(name, value)
    return folder


def cache_by_environment() -> str | None:
    """Have JAX, not loaded yet, use the cache, unless the environment says otherwise; returns why it cannot be, or None."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.environ.get(VARIABLE, "on").lower() in OFF:
        return None
    root = _root()
    try:
        folder = prepared(root)
    except OSError as error:
        return f"{root}: {error.strerror or error}"
    for name, value in {"jax_compilation_cache_dir": folder, **SETTINGS}.items():
        os.environ[name.upper()] = str(value)
    return None


def prepared(root: Path) -> Path:
    """The directory within `root` for these versions, made, seen to be writable, and cleared of what is too much.

    Raises:
      OSError: it cannot be made or written.
    """
    root = root.expanduser().absolute()
    folder = root / "-".join(part for name in ("nqmjax", "jaxlib") for part in (name, importlib.metadata.version(name)))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
    _clear(root)
    return folder


def forget(warning: str) -> bool:
    """Whether a warning is JAX's about an entry that cannot be read, because a process ended while it wrote; remove it then."""
    found = re.match(r"Error reading persistent compilation cache entry for '([\w.<>-]+)'", warning)
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if found and folder:
        for entry in Path(folder).glob(f"{found[1]}-*-cache"):
            entry.unlink(missing_ok=True)
    return bool(found)


def _root() -> Path:
    named = os.environ.get(VARIABLE, "")
    if named.lower() not in OFF:
        return Path(named)
    from platformdirs import user_cache_path  # needed only here

    return user_cache_path("nqmjax", appauthor=False)


def _clear(root: Path) -> None:
    """Remove the entries used last the longest time ago, once all are more than `LARGEST`; other processes may do the same."""
    entries = []
    for entry in root.glob("*/*-cache"):
        try:
            about = entry.stat()
        except FileNotFoundError:
            continue
        entries.append((max(about.st_atime, about.st_mtime), about.st_size, entry))
    size = sum(bytes for _, bytes, _ in entries)
    if size <= LARGEST:
        return
    for _, bytes, entry in sorted(entries, key=lambda one: one[0]):
        if size <= LARGEST / 2:
            return
        entry.unlink(missing_ok=True)
        size -= bytes
