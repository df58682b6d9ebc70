"""Callbacks: objects that `fit`, `evaluate` and `predict` call as they go."""

from fusedlstm.callbacks.base import Callback, CallbackList
from fusedlstm.callbacks.monitors import EarlyStopping
from fusedlstm.callbacks.simple import History, LambdaCallback, TerminateOnNaN

__all__ = ["Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "TerminateOnNaN"]
