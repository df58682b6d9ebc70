"""The zip that a model's file is: texts in JSON, and one member with the arrays."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from fusedlstm.saving.errors import FileError

METADATA, CONFIG = "metadata.json", "config.json"

#: No configuration is larger; a model's is some kilobytes.
LARGEST_TEXT = 1 << 26


def write(file: IO[bytes], texts: Mapping[str, Any], members: Mapping[str, bytes | memoryview]) -> None:
    """Write JSON values and bytes under their names, not compressed, as Keras does."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, value in texts.items():
            archive.writestr(name, json.dumps(value, default=_plain))
        for name, data in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise NotPlainError(f"expected plain values in a config, got {value!r}")


class NotPlainError(TypeError):
    """A value has no form in JSON."""


def check_plain(value: Any) -> None:
    """A NotPlainError if the value cannot be written."""
    json.dumps(value, default=_plain)


class Reader:
    """A zip that is read by the names of its members; nothing is ever unpacked to the disk.

    Raises
    ------
    FileError
        If it is no zip.
    """

    def __init__(self, owner: str, file: IO[bytes]) -> None:
        self.owner = owner
        try:
            self._archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise FileError(f"{owner}: expected a model's file: {error}") from error

    def has(self, name: str) -> bool:
        """Whether there is a member of this name."""
        return name in self._archive.NameToInfo

    def text(self, name: str) -> Any:
        """A member's JSON value."""
        try:
            return json.loads(self._read(name, LARGEST_TEXT))
        except (ValueError, RecursionError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"{self.owner}: {name} is no JSON: {error}") from error

    def member(self, name: str) -> IO[bytes]:
        """A member as a file in memory."""
        return io.BytesIO(self._read(name, None))

    def _read(self, name: str, most: int | None) -> bytes:
        if not self.has(name):
            raise FileError(f"{self.owner}: has no {name}")
        info = self._archive.getinfo(name)
        # Nothing that belongs here shrinks so far: it would grow without bounds in memory.
        if info.file_size > max(100 * info.compress_size, 1 << 20) or (most is not None and info.file_size > most):
            raise FileError(f"{self.owner}: {name} claims to grow from {info.compress_size} to {info.file_size} bytes")
        try:
            data = self._archive.read(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
            raise FileError(f"{self.owner}: {name} cannot be read: {error}") from error
        except Exception as error:  # zlib.error, lzma.LZMAError
            raise FileError(f"{self.owner}: {name} is damaged: {error}") from error
        return data
