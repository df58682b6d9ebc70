"""Users' own classes by name: how a config, which holds names alone, becomes objects of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

_given: ContextVar[dict[str, Any]] = ContextVar("custom_objects")
_registered: dict[str, type] = {}
_names: dict[type, str] = {}


@contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside, `from_config` finds these classes by their names, ahead of all others.

    Parameters
    ----------
    custom_objects : dict of str to class, or None
        Inner scopes add to outer ones.

    Raises
    ------
    TypeError
        If it is not that.

    Examples
    --------
    >>> from fusedlstm.layers import Dense
    >>> from fusedlstm.models import Sequential
    >>> class Twice(Dense):
    ...     pass
    >>> config = Sequential([Twice(3)]).get_config()
    >>> with custom_object_scope({"Twice": Twice}):
    ...     model = Sequential.from_config(config)
    >>> type(model.layers[0]).__name__
    'Twice'
    """
    added = {} if custom_objects is None else custom_objects
    if not isinstance(added, Mapping):
        raise TypeError(f"custom_objects: expected a dict of names to classes, got {added!r}")
    for name, value in added.items():
        if not isinstance(name, str) or not isinstance(value, type):
            raise TypeError(f"custom_objects: expected a dict of names to classes, got {name!r}: {value!r}")
    token = _given.set({**_given.get({}), **added})
    try:
        yield
    finally:
        _given.reset(token)


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """A decorator for classes: `from_config` finds them from now on, without custom_objects.

    Parameters
    ----------
    package : str
        Keeps classes of the same name apart: in a config it is called ``package>name``.
    name : str, optional
        The class's own if None.

    Raises
    ------
    TypeError
        For what is not a class with ``get_config``.
    ValueError
        If another class has this package and name.
    """

    def register(cls: T) -> T:
        if not isinstance(cls, type) or not hasattr(cls, "get_config"):
            raise TypeError(f"register_keras_serializable: expected a class with get_config, got {cls!r}")
        full = f"{package}>{name or cls.__name__}"
        known = _registered.get(full)
        # The same cell of a notebook, run again, makes the class anew.
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"register_keras_serializable: {full!r} is {known!r} already, got {cls!r}")
        _registered[full], _names[cls] = cls, full
        return cls

    return register


def class_name(cls: type) -> str:
    """What a config calls a class: the name under which it is registered, else its own."""
    return _names.get(cls, cls.__name__)


def find_custom(name: Any, base: type) -> Any:
    """The subclass of `base` of this name that is in a `custom_object_scope` or registered; None if there is none."""
    if not isinstance(name, str):
        return None
    given = _given.get({})
    found = given.get(name) or given.get(name.rpartition(">")[2]) or _registered.get(name)
    return found if found is not None and issubclass(found, base) else None
