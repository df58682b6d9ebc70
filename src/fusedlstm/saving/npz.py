"""Arrays in a zip, as `numpy.savez` writes them, read so that no file can do harm: no pickle, no size unchecked."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fusedlstm.saving.errors import FileError

_SUFFIX = ".npy"


def write(file: IO[bytes], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of numbers under their names."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(name + _SUFFIX, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


class Reader:
    """The arrays of a file: their shapes and dtypes are known at once, each is read when asked for.

    Raises
    ------
    FileError
        If it is no such file.
    """

    def __init__(self, owner: str, file: IO[bytes]) -> None:
        self.owner = owner
        try:
            self._archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise FileError(f"{owner}: expected an npz file: {error}") from error
        self._members = {}
        for info in self._archive.infolist():
            if not info.filename.endswith(_SUFFIX):
                raise FileError(f"{owner}: expected arrays alone, got {info.filename!r}")
            self._members[info.filename.removesuffix(_SUFFIX)] = info

    @property
    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._members)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one array, without reading it."""
        with self._open(name) as member:
            return self._header(name, member)[0]

    def read(self, name: str) -> NDArray[Any]:
        """One array."""
        with self._open(name) as member:
            shape, fortran, dtype = self._header(name, member)
            size = math.prod(shape) * dtype.itemsize
            stored = self._members[name]
            # What is stored as it is cannot be larger than the file is.
            if stored.compress_type == zipfile.ZIP_STORED and size > stored.file_size:
                raise FileError(f"{self.owner}: {name!r} claims {size} bytes, the file has {stored.file_size}")
            try:
                data = member.read(size + 1)
            except (zipfile.BadZipFile, OSError, EOFError) as error:
                raise FileError(f"{self.owner}: {name!r} is damaged: {error}") from error
        if len(data) != size:
            raise FileError(f"{self.owner}: expected {size} bytes of {name!r}, got {len(data)}")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")

    def _open(self, name: str) -> IO[bytes]:
        info = self._members[name]
        if info.compress_type != zipfile.ZIP_STORED and info.file_size > 1000 * max(info.compress_size, 1):
            raise FileError(
                f"{self.owner}: {name!r} claims to grow from {info.compress_size} to {info.file_size} bytes"
            )
        try:
            return self._archive.open(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
            raise FileError(f"{self.owner}: {name!r} cannot be read: {error}") from error

    def _header(self, name: str, member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        try:
            version = np.lib.format.read_magic(member)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(member)
        except (ValueError, TypeError, SyntaxError, zipfile.BadZipFile, OSError, EOFError, RecursionError) as error:
            raise FileError(f"{self.owner}: {name!r} is no array: {error}") from error
        if dtype.kind not in "fiub" or any(n < 0 for n in shape):
            raise FileError(f"{self.owner}: expected numbers in {name!r}, got dtype {dtype}, shape {shape}")
        return shape, fortran, dtype

    def close(self) -> None:
        """Done with the file."""
        self._archive.close()
