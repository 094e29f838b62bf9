"""Writing of files: whole or not at all, and refused before a long computation where it could not succeed."""

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nqmjax._tools.checks import require

TEMPORARY = ".nqmjax-"
"""Names of files and directories that are on their way begin so."""

TRIAL = bytes(2**16)
"""What is written and removed again to see whether a disk has room."""


def as_path(path: str | os.PathLike) -> Path:
    """The argument as a path, or `ValueError`."""
    require(isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str), "path", repr(path), "give a file's name")
    require("\0" not in os.fspath(path), "path", repr(os.fspath(path)), "a file's name has no zero byte")
    return Path(path)


def check_suffix(path: Path, *suffixes: str) -> None:
    """Raise unless the name ends in one of `suffixes`, capitals apart."""
    require(path.suffix.lower() in suffixes, "path", path, f"give a file whose name ends in {' or '.join(suffixes)}")


def check_output(path: str | os.PathLike, force: bool = False) -> None:
    """Raise `ValueError` unless a file can be written at `path`: for use before a long computation.

    A file of that name is made in a directory of its own beside it and removed, so that names too long, file systems that
    are read-only and full disks show at once.

    Args:
      path: name of the file to be written.
      force: whether a file that exists may be replaced.

    Raises:
      ValueError: the directory is missing or not writable, `path` is no ordinary file, or it exists and `force` is False.

    >>> check_output("no such directory/result.nc")
    Traceback (most recent call last):
    ValueError: path is no such directory/result.nc: there is no directory 'no such directory'; make it first
    """
    path = as_path(path)
    # A symbolic link stays, and the file that it points to is replaced.
    folder = os.path.dirname(os.path.realpath(path))
    require(os.path.isdir(folder), "path", path, f"there is no directory {str(path.parent)!r}; make it first")
    require(not os.path.isdir(path), "path", path, "this is a directory; give the name of a file")
    require(os.access(folder, os.W_OK | os.X_OK), "path", path, f"the directory {str(path.parent)!r} is not writable")
    try:
        exists = os.path.lexists(path) and os.stat(path) is not None
    except FileNotFoundError:  # a link to a file that is still to be made
        exists = False
    except OSError as error:
        raise ValueError(f"path is {path}: {error.strerror}; choose another name") from None
    if exists:
        require(os.path.isfile(path), "path", path, "this is not an ordinary file; choose another name")
        require(force, "path", path, "the file exists; pass force=True (--force on the command line) or choose another name")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=TEMPORARY) as trial:
            Path(trial, path.name).write_bytes(TRIAL)
    except OSError as error:
        raise ValueError(f"path is {path}: {error.strerror}; choose another name or directory") from None


def write_atomically(path: str | os.PathLike, writer: Callable[[Path], Any], force: bool = False) -> None:
    """Write a file whole or not at all: a failure or an interrupt leaves what was there before and nothing else.

    Args:
      path: name of the file.
      writer: called once with the name to write to: another one, next to `path` in a directory of its own, with the same last
        part, so that writers which go by the suffix know the format.
      force: whether a file that exists may be replaced.

    Raises:
      ValueError: see `check_output`; or `writer` wrote nothing under the name it was given.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "result.txt")
    ...     write_atomically(path, lambda temporary: temporary.write_text("42"))
    ...     path.read_text(), os.listdir(folder)
    ('42', ['result.txt'])
    """
    check_output(path, force)
    target = os.path.realpath(path)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target), prefix=TEMPORARY) as folder:
        temporary = Path(folder, Path(path).name)
        writer(temporary)
        require(temporary.exists(), "path", path, "nothing was written under this name; give it the suffix of its format")
        os.replace(temporary, target)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and return when it is on the disk: a power failure takes nothing back.

    A process that is killed may leave a file of another name, `TEMPORARY` in front, beside it.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_durably(Path(folder, "new", "result"), b"42")
    ...     Path(folder, "new", "result").read_bytes(), os.listdir(folder)
    (b'42', ['new'])
    """
    _make_folder(path.parent)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _bring_to_disk(path.parent)


def _make_folder(path: Path) -> None:
    """Make a directory and those above it, on the disk."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _bring_to_disk(path.parent)


def _bring_to_disk(folder: Path) -> None:
    """Let the names in a directory outlast a power failure, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
