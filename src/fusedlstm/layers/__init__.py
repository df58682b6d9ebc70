"""The layers that models are made of."""

from fusedlstm.layers.activation import ReLU, Softmax
from fusedlstm.layers.attention import AdditiveAttention, Attention
from fusedlstm.layers.base import Layer
from fusedlstm.layers.bidirectional import Bidirectional
from fusedlstm.layers.cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from fusedlstm.layers.convolution import Conv1D
from fusedlstm.layers.dense import Dense
from fusedlstm.layers.dot import Dot, dot
from fusedlstm.layers.embedding import Embedding
from fusedlstm.layers.gru import GRU
from fusedlstm.layers.input import Input, InputLayer
from fusedlstm.layers.lstm import LSTM
from fusedlstm.layers.masking import Masking
from fusedlstm.layers.merge import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from fusedlstm.layers.multi_head_attention import MultiHeadAttention
from fusedlstm.layers.mutants import MUT1, MUT2, MUT3
from fusedlstm.layers.normalization import BatchNormalization, LayerNormalization
from fusedlstm.layers.pooling import AveragePooling1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D
from fusedlstm.layers.regularization import GaussianNoise, SpatialDropout1D
from fusedlstm.layers.reshape import Permute, RepeatVector, Reshape
from fusedlstm.layers.rnn import RNN
from fusedlstm.layers.serialization import deserialize, serialize
from fusedlstm.layers.simple import Activation, Dropout, Flatten
from fusedlstm.layers.simple_rnn import SimpleRNN
from fusedlstm.layers.time_distributed import TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "MUT1",
    "MUT2",
    "MUT3",
    "RNN",
    "Activation",
    "Add",
    "AdditiveAttention",
    "Attention",
    "Average",
    "AveragePooling1D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Dense",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "InputLayer",
    "LSTMCell",
    "Layer",
    "LayerNormalization",
    "Masking",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "StackedRNNCells",
    "Subtract",
    "TimeDistributed",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]
