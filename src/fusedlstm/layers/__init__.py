"""The layers that models are made of."""

from fusedlstm.layers.base import Layer
from fusedlstm.layers.dense import Dense
from fusedlstm.layers.input import Input, InputLayer
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.simple import Activation, Dropout, Flatten

__all__ = ["LSTM", "Activation", "Dense", "Dropout", "Flatten", "Input", "InputLayer", "Layer"]
