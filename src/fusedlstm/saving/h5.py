"""HDF5 files as Keras writes them (``.weights.h5``), through h5py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fusedlstm.saving.errors import FileError

_DEEPEST = 64  # groups inside each other


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            'files of Keras (.keras, .weights.h5) need h5py: pip install "fusedlstm[keras-files]", or choose a name '
            "that ends in .fusedlstm or .weights.npz"
        ) from error
    return h5py


def check_installed() -> None:
    """ImportError, which says what to install, if there is no h5py."""
    _h5py()


def write(file: IO[bytes], arrays: Mapping[str, NDArray[Any]], names: Mapping[str, str]) -> None:
    """Write arrays at their paths, and the layers' names at the groups that hold them."""
    h5py = _h5py()
    with h5py.File(file, "w") as root:
        for path, name in names.items():
            root.create_group(f"{path}/vars" if path else "vars").attrs["name"] = name
        for path, array in arrays.items():
            # Keras counts an optimizer's iterations in int32.
            root[path] = array.astype(np.int32) if path == "optimizer/vars/0" else array


class Reader:
    """The arrays of a file; links to anywhere and data that lie outside the file are refused.

    Raises
    ------
    FileError
        If it is no such file.
    """

    def __init__(self, owner: str, file: IO[bytes]) -> None:
        self.owner = owner
        self._h5py = _h5py()
        self._sets: dict[str, Any] = {}
        self._seen: set[Any] = set()
        try:
            self._root = self._h5py.File(file, "r")
            self._collect(self._root, "", 0)
        except FileError:
            raise
        except Exception as error:  # h5py raises whatever came out of the HDF5 library
            raise FileError(f"{owner}: expected an HDF5 file: {error}") from error

    def _collect(self, group: Any, path: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise FileError(f"{self.owner}: groups lie deeper than {_DEEPEST}")
        place = self._h5py.h5o.get_info(group.id).addr
        if place in self._seen:
            raise FileError(f"{self.owner}: the group {path!r} has two names")
        self._seen.add(place)
        for name in group:
            if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
                raise FileError(f"{self.owner}: {path}{name!r} is a link to elsewhere, which is not followed")
            item = group[name]
            if isinstance(item, self._h5py.Group):
                self._collect(item, f"{path}{name}/", depth + 1)
            elif isinstance(item, self._h5py.Dataset):
                if item.external or item.is_virtual or item.dtype.kind not in "fiub" or item.shape is None:
                    raise FileError(f"{self.owner}: expected {path}{name!r} to hold numbers, in the file itself")
                self._sets[f"{path}{name}"] = item

    @property
    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._sets)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one array, without reading it."""
        shape: tuple[int, ...] = self._sets[name].shape
        return shape

    def read(self, name: str) -> NDArray[Any]:
        """One array."""
        try:
            return np.asarray(self._sets[name][()])
        except Exception as error:
            raise FileError(f"{self.owner}: {name!r} cannot be read: {error}") from error

    def close(self) -> None:
        """Done with the file."""
        self._root.close()
