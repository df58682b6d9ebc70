"""Users' own classes and functions by name: how a config, which holds names alone, becomes objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])

_given: ContextVar[dict[str, Any]] = ContextVar("custom_objects")
_registered: dict[str, Any] = {}
_names: dict[Any, str] = {}
_FUNCTION = "function"


@contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside, `from_config` finds these classes and functions by their names, ahead of all others.

    Parameters
    ----------
    custom_objects : dict of str to class or function, or None
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
        raise TypeError(f"custom_objects: expected a dict of names to classes or functions, got {added!r}")
    for name, value in added.items():
        if not isinstance(name, str) or not (isinstance(value, type) or is_function(value)):
            raise TypeError(
                f"custom_objects: expected a dict of names to classes or functions, got {name!r}: {value!r}"
            )
    token = _given.set({**_given.get({}), **added})
    try:
        yield
    finally:
        _given.reset(token)


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """A decorator for classes and functions: `from_config` finds them from now on, without custom_objects.

    Parameters
    ----------
    package : str
        Keeps classes of the same name apart: in a config it is called ``package>name``.
    name : str, optional
        The class's or function's own if None.

    Raises
    ------
    TypeError
        For what is neither a class with ``get_config`` nor a function with a name.
    ValueError
        If another one has this package and name.
    """

    def register(cls: T) -> T:
        if not (hasattr(cls, "get_config") if isinstance(cls, type) else _has_name(cls)):
            raise TypeError(
                f"register_keras_serializable: expected a class with get_config or a function with a name, got {cls!r}"
            )
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


def _find(name: Any) -> Any:
    if not isinstance(name, str):
        return None
    given = _given.get({})
    return given.get(name) or given.get(name.rpartition(">")[2]) or _registered.get(name)


def find_custom(name: Any, base: type) -> Any:
    """The subclass of `base` of this name that is in a `custom_object_scope` or registered; None if there is none."""
    found = _find(name)
    return found if isinstance(found, type) and issubclass(found, base) else None


def is_function(value: Any) -> bool:
    """Whether it is a function, or what has a name as functions do; no class, and no object that can be called."""
    return callable(value) and not isinstance(value, type) and isinstance(getattr(value, "__name__", None), str)


def _has_name(value: Any) -> bool:
    """Whether it is a function other than a lambda."""
    return is_function(value) and value.__name__ != "<lambda>"


def function_config(function: Any) -> dict[str, Any]:
    """What a config calls a function, in Keras's form.

    Raises
    ------
    TypeError
        If it has no name by which it could be found again.
    """
    if not _has_name(function):
        raise TypeError(f"a function has no config but its name, got {function!r}")
    name = _names.get(function, function.__name__)
    return {"class_name": _FUNCTION, "module": getattr(function, "__module__", None), "config": name}


def is_function_config(value: Any) -> bool:
    """Whether `function_config` gave it."""
    return isinstance(value, dict) and value.get("class_name") == _FUNCTION


def find_function(name: Any) -> Any:
    """The function of this name that is in a `custom_object_scope` or registered; None if there is none."""
    found = _find(name)
    return found if is_function(found) else None


def function_from(config: dict[str, Any]) -> Any:
    """The function that `function_config` named.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    name = config.get("config")
    found = find_function(name)
    if found is None:
        raise ValueError(f"unknown function {name!r}: one's own goes into custom_objects={{{name!r}: ...}}")
    return found
