"""Files that are either wholly written or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

#: What names of unfinished files start with; one is left behind only by a process that was killed.
PREFIX = ".unfinished-"


def check_path(owner: str, argument: str, path: Any) -> Path:
    """`path` as a Path, or a TypeError."""
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"{owner}: expected {argument} to be a path, got {path!r}")
    return Path(path)


@contextlib.contextmanager
def written(path: Path, overwrite: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` when the block ends, unless it ends with an error.

    Whatever happens, power loss included, under `path` there is the old file or the new one. Whoever has the old one
    open, or mapped, keeps it.

    Raises
    ------
    FileExistsError
        If there is one already and `overwrite` is False.
    OSError
        If it cannot be written; the old file is as it was.
    """
    if not overwrite and path.exists():
        raise FileExistsError(f"{path} exists already: pass overwrite=True to replace it")
    path = path.resolve()  # through links, so that a link stays one
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: expected the name of a file")
    number, name = tempfile.mkstemp(prefix=PREFIX, suffix=path.suffix, dir=path.parent)
    try:
        with os.fdopen(number, "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a loss of power, where the file system can."""
    number = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(number)
    finally:
        os.close(number)


def remove_unfinished(folder: Path, suffix: str) -> None:
    """Remove what killed processes left of files with this suffix; no other may be writing such a one there."""
    for path in folder.glob(f"{PREFIX}*{suffix}"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    # The other way to ask is to set it, for all threads, for a moment.
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
