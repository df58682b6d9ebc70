"""Hyperparameters: what each may be, and the values they have in a trial."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

from fusedlstm.tuner.errors import FatalError
from fusedlstm.tuner.kinds import Choice, Condition, Fixed, HyperParameter, Number, Value, check_value


class HyperParameters:
    """The values of one model, and the space that they come from.

    A model asks for a value with `Int`, `Float`, `Choice`, `Boolean` or `Fixed`; the tuner answers. Outside a search
    the answer is the default, or what stands in `values`.

    Attributes
    ----------
    values : dict
        Of all that were asked for and are active.
    space : list
        Their definitions, the inactive ones included, in the order in which they were asked for.
    """

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.space: list[HyperParameter] = []
        #: The conditions of scopes that were entered while they did not hold.
        self.inactive_scopes: list[tuple[Condition, ...]] = []
        self._names: list[str] = []
        self._conditions: list[Condition] = []

    def Int(  # noqa: N802 - Keras Tuner's name, as the ones below
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str | None = "linear",
        default: int | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """An integer.

        Parameters
        ----------
        name : str
        min_value, max_value : int
            Both included.
        step : int, optional
            Distance of neighbouring values; with "log" and "reverse_log" their quotient.
        sampling : {"linear", "log", "reverse_log"}
            Every value alike, or more of the small, or more of the large ones.
        default : int, optional
            `min_value` if None.
        parent_name, parent_values : optional
            Active only where that hyperparameter has one of these values.

        Returns
        -------
        int
            None where it is not active.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit, or another definition of the same name.
        """
        return self._number(name, min_value, max_value, step, sampling, default, parent_name, parent_values, True)

    def Float(  # noqa: N802
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str | None = "linear",
        default: float | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """A number; arguments as of `Int`."""
        return self._number(name, min_value, max_value, step, sampling, default, parent_name, parent_values, False)

    def Choice(  # noqa: N802
        self,
        name: str,
        values: Any,
        ordered: bool | None = None,
        default: Value | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """One of several values.

        Parameters
        ----------
        name : str
        values : list
            Of numbers, strings or bools, all of one kind.
        ordered : bool, optional
            Whether neighbours are alike, which a sampler may learn from; False if None.
        default : optional
            The first of `values` if None.
        parent_name, parent_values : optional
            As of `Int`.
        """
        name = self._full(name)
        return self._retrieve(Choice.make(name, self._under(parent_name, parent_values), values, ordered, default))

    def Boolean(  # noqa: N802
        self, name: str, default: bool = False, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """False or True."""
        return self.Choice(name, [False, True], None, default, parent_name, parent_values)

    def Fixed(  # noqa: N802
        self, name: str, value: Value, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """A value that is not tuned, but listed with the others."""
        name = self._full(name)
        value = check_value(f"hp.Fixed '{name}'", "value", value)
        return self._retrieve(Fixed(name, self._under(parent_name, parent_values), value))

    def _number(
        self,
        name: str,
        low: Any,
        high: Any,
        step: Any,
        sampling: str | None,
        default: Any,
        parent: str | None,
        parent_values: Any,
        integer: bool,
    ) -> Any:
        name = self._full(name)
        return self._retrieve(
            Number.make(name, self._under(parent, parent_values), low, high, step, sampling, default, integer)
        )

    # Scopes.

    @contextlib.contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Names inside start with ``name/``."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"hp.name_scope: expected a name, got {name!r}")
        self._names.append(name)
        try:
            yield
        finally:
            self._names.pop()

    @contextlib.contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        """What is asked for inside is active only where `parent_name` has one of these values.

        Where it is not, the answer is None, and nothing is tuned or listed.

        Raises
        ------
        ValueError
            If there is no hyperparameter `parent_name` yet, or it never has these values.
        """
        conditions = self._under(parent_name, parent_values)
        self._conditions = list(conditions)
        if not all(condition.holds(self.values) for condition in conditions):
            self.inactive_scopes.append(conditions)
        try:
            yield
        finally:
            self._conditions.pop()

    def _full(self, name: Any) -> str:
        if not isinstance(name, str) or not name:
            raise TypeError(f"hp: expected the name of a hyperparameter, got {name!r}")
        return "/".join([*self._names, name])

    def _under(self, parent: str | None, values: Any) -> tuple[Condition, ...]:
        """The conditions of the scopes, and one more."""
        if parent is None:
            if values is not None:
                raise ValueError(f"hp: expected parent_name along with parent_values {values!r}, got None")
            return tuple(self._conditions)
        name = self._full(parent)
        known = [parameter for parameter in self.space if parameter.name == name]
        if not known:
            raise ValueError(f"hp: expected a parent that was asked for before, there is no {name!r}")
        wanted = tuple(values) if isinstance(values, list | tuple) else (values,)
        if not wanted or None in wanted:
            raise ValueError(f"hp: expected parent_values of {name!r}, got {values!r}")
        for value in wanted:
            if not any(parameter.contains(value) for parameter in known):
                raise ValueError(f"hp: {name!r} is never {value!r}: expected parent_values that it can have")
        return (*self._conditions, Condition(name, wanted))

    # Values.

    def _retrieve(self, asked: HyperParameter) -> Any:
        """The value of a hyperparameter, which is decided when it is first asked for."""
        for known in self.space:
            if known.name == asked.name and not known.alike(asked):
                raise ValueError(f"hp: {asked.name!r} was asked for as {known}, now as {asked}: use another name")
            if known.name == asked.name and known.conditions == asked.conditions and known != asked:
                raise ValueError(f"hp: {asked.name!r} was asked for as {known}, now as {asked}: use another name")
        if asked not in self.space:
            self.space.append(asked)
        if not asked.is_active(self.values):
            return None
        if asked.name not in self.values:
            self.values[asked.name] = self._decide(asked)
        return self.values[asked.name]

    def _decide(self, parameter: HyperParameter) -> Value:
        return parameter.default

    def get(self, name: str) -> Any:
        """The value of a hyperparameter by its name.

        Raises
        ------
        KeyError
            If there is none that is active.
        """
        name = self._full(name)
        if name in self.values:
            return self.values[name]
        if any(parameter.name == name for parameter in self.space):
            raise KeyError(f"hyperparameter {name!r} is not active")
        raise KeyError(f"there is no hyperparameter {name!r}, only: {', '.join(self.values) or 'none'}")

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def is_active(self, name: str) -> bool:
        """Whether it has a value."""
        return self._full(name) in self.values

    def copy(self) -> HyperParameters:
        """Another of the same values and space, for a program to change."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        return f"HyperParameters({self.values})"


class GuidedHyperParameters(HyperParameters):
    """Hyperparameters of which a program gave definitions or values beforehand.

    Parameters
    ----------
    given : HyperParameters, optional
        Its definitions take the place of those of the same name that a model asks for.
    allow_new : bool
        Whether a model may ask for others than those.
    values : mapping, optional
        Values that are decided already.
    """

    def __init__(
        self, given: HyperParameters | None, allow_new: bool, values: Mapping[str, Value] | None = None
    ) -> None:
        super().__init__()
        self._given = {} if given is None else {parameter.name: parameter for parameter in given.space}
        self._allow_new = allow_new
        self._preset = dict(values or {})
        for parameter in self._given.values():
            self._retrieve(parameter)

    def is_given(self, parameter: HyperParameter) -> bool:
        return parameter.name in self._given

    def _retrieve(self, asked: HyperParameter) -> Any:
        if asked.name in self._given:
            asked = self._given[asked.name]
        elif not self._allow_new:
            raise FatalError(
                f"the model asks for a hyperparameter {asked.name!r} that is not among those given "
                f"({', '.join(self._given)}), and allow_new_entries is False"
            )
        return super()._retrieve(asked)

    def _decide(self, parameter: HyperParameter) -> Value:
        return self._preset.get(parameter.name, parameter.default)
