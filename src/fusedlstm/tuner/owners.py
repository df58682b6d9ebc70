"""Which processes work at a search: one at a time takes a trial, and a killed one is told from one that is at work.

Both by locks on files, which the system releases with the process, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

# What an owner writes that ends by an error, or is interrupted at the keyboard.
_STOPPED = b"stopped"


@contextlib.contextmanager
def turn(folder: Path) -> Iterator[None]:
    """No other process that calls this for the folder is inside at the same time."""
    number = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


@contextlib.contextmanager
def owner(folder: Path) -> Iterator[str]:
    """A name under which a process takes trials; `is_dead` tells of it until the block ends without an error."""
    name = uuid.uuid4().hex
    path = folder / "processes" / name
    path.parent.mkdir(exist_ok=True)
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield name
        path.unlink(missing_ok=True)
    except BaseException:
        os.write(number, _STOPPED)
        raise
    finally:
        os.close(number)


def is_dead(folder: Path, name: str) -> bool:
    """Whether an owner in this folder has ended without finishing what it took.

    False as well for one that has its folder elsewhere, on another machine.
    """
    try:
        number = os.open(folder / "processes" / name, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(number)
    return True


def is_alive(folder: Path, name: str) -> bool:
    """Whether an owner is in this folder and at work."""
    return (folder / "processes" / name).exists() and not is_dead(folder, name)


def was_killed(folder: Path, name: str) -> bool:
    """Whether a dead owner could say nothing before its end."""
    return (folder / "processes" / name).read_bytes() != _STOPPED


def names(folder: Path) -> list[str]:
    """All owners in this folder, alive and dead."""
    return [path.name for path in (folder / "processes").glob("*")]


def forget(folder: Path, name: str) -> None:
    """Remove what a dead owner left."""
    (folder / "processes" / name).unlink(missing_ok=True)
