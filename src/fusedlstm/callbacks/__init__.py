"""Callbacks: objects that `fit`, `evaluate` and `predict` call as they go."""

from fusedlstm.callbacks.backup import BackupAndRestore
from fusedlstm.callbacks.base import Callback, CallbackList
from fusedlstm.callbacks.checkpoints import ModelCheckpoint
from fusedlstm.callbacks.csv_logger import CSVLogger
from fusedlstm.callbacks.learning_rate import LearningRateScheduler
from fusedlstm.callbacks.monitors import EarlyStopping, ReduceLROnPlateau
from fusedlstm.callbacks.simple import History, LambdaCallback, SwapEMAWeights
from fusedlstm.callbacks.tensorboard import TensorBoard
from fusedlstm.callbacks.terminate import TerminateOnNaN
from fusedlstm.utils.progress import ProgressBar as ProgbarLogger

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
