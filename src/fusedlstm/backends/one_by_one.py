"""Several calls at once, and one again and again, for backends that gain nothing from knowing of them ahead."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusedlstm.backends.arguments import Array
from fusedlstm.backends.reference_recurrent import Stream


def one_by_one(functions: Mapping[str, Any]) -> tuple[Callable[..., Any], ...]:
    """prepare_pack, prepare_forward, recurrent_together, recurrent_stream of a backend, from its functions by name."""

    def prepare_pack(
        function: str, kernel: Array, recurrent: Array, bias: Array | None, training: bool, **options: Any
    ) -> Callable[[], Any]:
        """What calls a pack function for the values that contiguous weights have by then, in the arrays given here."""
        return lambda: functions[function](kernel, recurrent, bias, training, **options)

    def prepare_forward(
        function: str, x: Array, packed: Any, arrays: Mapping[str, Array], need_states: bool = True, **options: Any
    ) -> Callable[..., Sequence[Any]]:
        """What calls a forward function again and again, for arrays of the shapes and dtypes of those given here.

        Parameters
        ----------
        function : str
            "lstm_forward", "gru_forward" or "simple_rnn_forward".
        x : (B,T,I) array
        packed : object
            From the pack function.
        arrays : mapping
            By their arguments' names, those that each call has of its own: initial states, mask, masks of dropout and
            zoneout.
        need_states : bool
            Without, the final states may be missing among the results, and what backward returns for initial states
            that are not given.
        **options
            The others, as the forward function takes them.

        Returns
        -------
        function
            Of x, packed weights and, by their names, the arrays: they are not checked again. Returns what the forward
            function does. May be called by several threads at once.
        """
        return functools.partial(functions[function], **options)

    def recurrent_together(
        calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]],
    ) -> list[Any]:
        """The results of several calls of the recurrent kernels that do not depend on each other, at once.

        Parameters
        ----------
        calls : sequence of (function, args, kwargs)
            Of this backend's functions, or what `prepare_forward` made of them. All forward or all backward; 16 at
            most.

        Returns
        -------
        list
            What the functions return, to the bit as if called one by one.
        """
        return [function(*args, **kwargs) for function, args, kwargs in calls]

    def recurrent_stream(
        name: str, label: str, packed: Any, x: Array, states: dict[str, Array], **options: Any
    ) -> Stream:
        """What runs a recurrent layer in inference a step a call and keeps its states.

        Parameters
        ----------
        name : str
            "lstm_forward", "gru_forward" or "simple_rnn_forward".
        label : str
            What errors call it.
        packed : object
            From the pack function.
        x : (B,1,I) array
            Any values: its shape and dtype are those of the inputs.
        states : dict
            The initial states by their argument's name, "h0" and so on; all of the layer's. They are taken over.
        **options
            As the forward function takes them, without mask and dropout.
        """
        return Stream(label, functions[name], packed, x, states, options)

    return prepare_pack, prepare_forward, recurrent_together, recurrent_stream
