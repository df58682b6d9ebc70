"""Several calls at once, and one again and again, for backends that gain nothing from knowing of them ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fusedlstm.backends.arguments import Array
from fusedlstm.backends.reference_recurrent import Stream


def one_by_one(functions: Mapping[str, Any]) -> tuple[Callable[..., Any], ...]:
    """prepare_pack, recurrent_together and recurrent_stream of a backend, from its functions by name."""

    def prepare_pack(
        function: str, kernel: Array, recurrent: Array, bias: Array | None, training: bool, **options: Any
    ) -> Callable[[], Any]:
        """What calls a pack function for the values that contiguous weights have by then, in the arrays given here."""
        return lambda: functions[function](kernel, recurrent, bias, training, **options)

    def recurrent_together(calls: Sequence[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        """The results of several calls of the recurrent kernels that do not depend on each other, at once.

        Parameters
        ----------
        calls : sequence of (name, args, kwargs)
            All forward or all backward; 16 at most.

        Returns
        -------
        list
            What the functions return, to the bit as if called one by one.
        """
        return [functions[name](*args, **kwargs) for name, args, kwargs in calls]

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

    return prepare_pack, recurrent_together, recurrent_stream
