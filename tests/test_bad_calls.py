"""Wrong calls over the whole public API: each raises exactly this error, and changes nothing."""

import numpy as np
import pytest
from loss_cases import LOSS_NAMES

import fusedlstm
from fusedlstm.activations import Activation
from fusedlstm.layers import GRU, LSTM, Dense, Dropout, Flatten, Input, SimpleRNN
from fusedlstm.models import Sequential
from fusedlstm.symbolic import SymbolicError

X = np.ones((2, 4, 3), "float32")
Y = np.ones((2, 1), "float32")


def lstm():
    """A built layer."""
    layer = LSTM(2, name="e")
    layer.build((None, 4, 3))
    return layer


def model(loss="mse"):
    """A built and compiled model."""
    made = Sequential([Input((4, 3)), LSTM(2, name="e"), Dense(1, name="d")], name="m")
    made.compile("sgd", loss)
    return made


def classifier():
    """One of three classes."""
    made = Sequential([Input((4, 3)), LSTM(2, name="e"), Dense(3, "softmax", name="d")], name="m")
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


def unbuilt():
    """A model that does not know its inputs yet."""
    return Sequential([LSTM(2, name="e"), Dense(1, name="d")], name="m")


def twice():
    """Call backward twice for one forward."""
    y, backward = lstm().forward(X, training=True)
    backward(y)
    backward(y)


# What the call is about, the call, the error.
CALLS = [
    (
        "lstm units negative",
        lambda: LSTM(-3, name="e"),
        ValueError,
        "LSTM 'e': expected units to be a positive integer, got -3",
    ),
    (
        "lstm units zero",
        lambda: LSTM(0, name="e"),
        ValueError,
        "LSTM 'e': expected units to be a positive integer, got 0",
    ),
    (
        "lstm units float",
        lambda: LSTM(2.5, name="e"),
        ValueError,
        "LSTM 'e': expected units to be a positive integer, got 2.5",
    ),
    (
        "lstm units string",
        lambda: LSTM("8", name="e"),
        ValueError,
        "LSTM 'e': expected units to be a positive integer, got '8'",
    ),
    (
        "lstm units bool",
        lambda: LSTM(True, name="e"),
        ValueError,
        "LSTM 'e': expected units to be a positive integer, got True",
    ),
    (
        "lstm unknown argument",
        lambda: LSTM(3, unit=4, name="e"),
        TypeError,
        "LSTM 'e': unknown argument 'unit'",
    ),
    (
        "lstm unknown activation",
        lambda: LSTM(3, activation="tanhh", name="e"),
        ValueError,
        "LSTM 'e': activation: unknown activation 'tanhh': expected one of 'celu', 'elu', 'exponential', "
        "'gelu', 'hard_shrink', 'hard_sigmoid', 'hard_silu', 'hard_tanh', 'leaky_relu', 'linear', "
        "'log_sigmoid', 'log_softmax', 'mish', 'relu', 'relu6', 'selu', 'sigmoid', 'silu', 'soft_shrink', "
        "'softmax', 'softplus', 'softsign', 'sparse_plus', 'sparse_sigmoid', 'sparsemax', 'squareplus', "
        "'tanh', 'tanh_shrink'",
    ),
    (
        "lstm activation number",
        lambda: LSTM(3, activation=3, name="e"),
        TypeError,
        "LSTM 'e': activation: expected a name, an Activation or a function, got 3",
    ),
    (
        "lstm activation class",
        lambda: LSTM(3, recurrent_activation=LSTM, name="e"),
        TypeError,
        "LSTM 'e': recurrent_activation: expected a name, an Activation or a function, got "
        "<class 'fusedlstm.layers.lstm.LSTM'>",
    ),
    (
        "activation without derivative",
        lambda: Dense(3, np.tanh, name="d").forward(np.ones((2, 3)), training=True),
        TypeError,
        "Dense 'd': activation 'tanh' is a function without a derivative, which can predict but not be trained, "
        "expected fusedlstm.activations.Activation(name, forward, backward)",
    ),
    (
        "activation result",
        lambda: Dense(3, np.sum, name="d")(np.ones((2, 3))),
        ValueError,
        "activation 'sum': expected a result (2, 3), as its input, got ()",
    ),
    (
        "activation backward",
        lambda: Activation("own", np.tanh, 3),
        TypeError,
        "Activation 'own': expected backward to be a function, got 3",
    ),
    (
        "lstm unknown initializer",
        lambda: LSTM(3, kernel_initializer="glorot", name="e"),
        ValueError,
        "LSTM 'e': kernel_initializer: unknown initializer 'glorot': expected one of 'constant', "
        "'glorot_normal', 'glorot_uniform', 'he_normal', 'he_uniform', 'identity', 'lecun_normal', "
        "'lecun_uniform', 'ones', 'orthogonal', 'random_normal', 'random_uniform', 'truncated_normal', "
        "'variance_scaling', 'zeros'",
    ),
    (
        "lstm initializer None",
        lambda: LSTM(3, recurrent_initializer=None, name="e"),
        ValueError,
        "LSTM 'e': expected recurrent_initializer to be an initializer, got None",
    ),
    (
        "lstm initializer number",
        lambda: LSTM(3, bias_initializer=1, name="e"),
        TypeError,
        "LSTM 'e': bias_initializer: expected a name, an Initializer or a function, got 1",
    ),
    (
        "lstm dtype float16",
        lambda: LSTM(3, dtype="float16", name="e"),
        ValueError,
        "LSTM 'e': expected dtype 'float32' or 'float64', got 'float16'",
    ),
    (
        "lstm dtype int",
        lambda: LSTM(3, dtype=np.int32, name="e"),
        ValueError,
        "LSTM 'e': expected dtype 'float32' or 'float64', got <class 'numpy.int32'>",
    ),
    (
        "lstm dtype nonsense",
        lambda: LSTM(3, dtype=3, name="e"),
        ValueError,
        "LSTM 'e': expected dtype 'float32' or 'float64', got 3",
    ),
    (
        "lstm dropout",
        lambda: LSTM(3, dropout=1.5, name="e"),
        ValueError,
        "LSTM 'e': expected dropout to be a number from 0 to 1, got 1.5",
    ),
    (
        "lstm stateful",
        lambda: LSTM(3, stateful="yes", name="e"),
        TypeError,
        "LSTM 'e': expected stateful to be True or False, got 'yes'",
    ),
    (
        "lstm regularizer",
        lambda: LSTM(3, kernel_regularizer="l3", name="e"),
        ValueError,
        "LSTM 'e': kernel_regularizer: unknown regularizer 'l3': expected one of 'l1', 'l1_l2', 'l2', "
        "'orthogonal_regularizer'",
    ),
    (
        "lstm activity regularizer",
        lambda: LSTM(3, activity_regularizer=0.1, name="e"),
        TypeError,
        "LSTM 'e': activity_regularizer: expected a name or a fusedlstm.regularizers.Regularizer (which has a "
        "gradient), got 0.1",
    ),
    (
        "lstm peephole",
        lambda: LSTM(3, peephole=1, name="e"),
        TypeError,
        "LSTM 'e': expected peephole to be True or False, got 1",
    ),
    (
        "lstm coupled_gates",
        lambda: LSTM(3, coupled_gates=1, name="e"),
        TypeError,
        "LSTM 'e': expected coupled_gates to be True or False, got 1",
    ),
    (
        "lstm full_gate_recurrence",
        lambda: LSTM(3, full_gate_recurrence=1, name="e"),
        TypeError,
        "LSTM 'e': expected full_gate_recurrence to be True or False, got 1",
    ),
    (
        "lstm layer_norm",
        lambda: LSTM(3, layer_norm=1, name="e"),
        TypeError,
        "LSTM 'e': expected layer_norm to be True or False, got 1",
    ),
    (
        "lstm unit_forget_bias",
        lambda: LSTM(3, unit_forget_bias=1, name="e"),
        TypeError,
        "LSTM 'e': expected unit_forget_bias to be True or False, got 1",
    ),
    (
        "lstm zero_output_for_mask",
        lambda: LSTM(3, zero_output_for_mask=1, name="e"),
        TypeError,
        "LSTM 'e': expected zero_output_for_mask to be True or False, got 1",
    ),
    (
        "lstm layer_norm_epsilon 0",
        lambda: LSTM(3, layer_norm_epsilon=0, name="e"),
        ValueError,
        "LSTM 'e': expected layer_norm_epsilon to be a finite number above 0, got 0",
    ),
    (
        "lstm layer_norm_epsilon -1e-05",
        lambda: LSTM(3, layer_norm_epsilon=-1e-5, name="e"),
        ValueError,
        "LSTM 'e': expected layer_norm_epsilon to be a finite number above 0, got -1e-05",
    ),
    (
        "lstm layer_norm_epsilon inf",
        lambda: LSTM(3, layer_norm_epsilon=float("inf"), name="e"),
        ValueError,
        "LSTM 'e': expected layer_norm_epsilon to be a finite number above 0, got inf",
    ),
    (
        "lstm layer_norm_epsilon 1e-5",
        lambda: LSTM(3, layer_norm_epsilon="1e-5", name="e"),
        ValueError,
        "LSTM 'e': expected layer_norm_epsilon to be a finite number above 0, got '1e-5'",
    ),
    (
        "lstm projection 0",
        lambda: LSTM(3, projection=0, name="e"),
        ValueError,
        "LSTM 'e': expected projection to be a positive integer, got 0",
    ),
    (
        "lstm projection 2.5",
        lambda: LSTM(3, projection=2.5, name="e"),
        ValueError,
        "LSTM 'e': expected projection to be a positive integer, got 2.5",
    ),
    (
        "lstm projection True",
        lambda: LSTM(3, projection=True, name="e"),
        ValueError,
        "LSTM 'e': expected projection to be a positive integer, got True",
    ),
    (
        "lstm zoneout_h 1.5",
        lambda: LSTM(3, zoneout_h=1.5, name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_h to be a number from 0 to 1, got 1.5",
    ),
    (
        "lstm zoneout_h -0.1",
        lambda: LSTM(3, zoneout_h=-0.1, name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_h to be a number from 0 to 1, got -0.1",
    ),
    (
        "lstm zoneout_h nan",
        lambda: LSTM(3, zoneout_h=float("nan"), name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_h to be a number from 0 to 1, got nan",
    ),
    (
        "lstm zoneout_h half",
        lambda: LSTM(3, zoneout_h="half", name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_h to be a number from 0 to 1, got 'half'",
    ),
    (
        "lstm zoneout_c 1.5",
        lambda: LSTM(3, zoneout_c=1.5, name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_c to be a number from 0 to 1, got 1.5",
    ),
    (
        "lstm zoneout_c -0.1",
        lambda: LSTM(3, zoneout_c=-0.1, name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_c to be a number from 0 to 1, got -0.1",
    ),
    (
        "lstm zoneout_c nan",
        lambda: LSTM(3, zoneout_c=float("nan"), name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_c to be a number from 0 to 1, got nan",
    ),
    (
        "lstm zoneout_c half",
        lambda: LSTM(3, zoneout_c="half", name="e"),
        ValueError,
        "LSTM 'e': expected zoneout_c to be a number from 0 to 1, got 'half'",
    ),
    (
        "lstm cell_clip",
        lambda: LSTM(3, cell_clip=-1.0, name="e"),
        ValueError,
        "LSTM 'e': expected cell_clip to be a positive number or None, got -1.0",
    ),
    (
        "lstm removed",
        lambda: LSTM(3, removed=["gate"], name="e"),
        ValueError,
        "LSTM 'e': expected removed to be some of 'input_gate', 'forget_gate', 'output_gate', 'input_activation', "
        "'output_activation', got 'gate'",
    ),
    (
        "lstm positional option",
        lambda: LSTM(3, *["tanh"] * 23, True),
        TypeError,
        "LSTM.__init__() takes from 2 to 25 positional arguments but 26 were given",
    ),
    (
        "gru projection",
        lambda: GRU(3, projection=2, name="e"),
        TypeError,
        "GRU 'e': unknown argument 'projection'",
    ),
    (
        "simple rnn recurrent_activation",
        lambda: SimpleRNN(3, recurrent_activation="tanh", name="e"),
        TypeError,
        "SimpleRNN 'e': unknown argument 'recurrent_activation'",
    ),
    (
        "lstm return_sequences",
        lambda: LSTM(3, return_sequences=1, name="e"),
        TypeError,
        "LSTM 'e': expected return_sequences to be True or False, got 1",
    ),
    (
        "lstm input_shape",
        lambda: LSTM(3, input_shape=(4, -1), name="e"),
        ValueError,
        "LSTM 'e': expected input_shape to have no negative size, got (4, -1)",
    ),
    (
        "lstm input_shape string",
        lambda: LSTM(3, input_shape="4,1", name="e"),
        ValueError,
        "LSTM 'e': expected input_shape to be a tuple of sizes, got '4,1'",
    ),
    (
        "layer name",
        lambda: Dense(3, name="a/b"),
        ValueError,
        "Dense: expected name to be a non-empty string without '/', got 'a/b'",
    ),
    (
        "layer trainable",
        lambda: Dense(3, trainable="no", name="d"),
        TypeError,
        "Dense 'd': expected trainable to be True or False, got 'no'",
    ),
    (
        "dense units",
        lambda: Dense(0, name="d"),
        ValueError,
        "Dense 'd': expected units to be a positive integer, got 0",
    ),
    (
        "dense activation",
        lambda: Dense(3, activation="reluu", name="d"),
        ValueError,
        "Dense 'd': activation: unknown activation 'reluu': expected one of 'celu', 'elu', 'exponential', "
        "'gelu', 'hard_shrink', 'hard_sigmoid', 'hard_silu', 'hard_tanh', 'leaky_relu', 'linear', "
        "'log_sigmoid', 'log_softmax', 'mish', 'relu', 'relu6', 'selu', 'sigmoid', 'silu', 'soft_shrink', "
        "'softmax', 'softplus', 'softsign', 'sparse_plus', 'sparse_sigmoid', 'sparsemax', 'squareplus', "
        "'tanh', 'tanh_shrink'",
    ),
    (
        "dropout rate high",
        lambda: Dropout(1.5, name="d"),
        ValueError,
        "Dropout 'd': expected rate to be a number from 0 to 1, got 1.5",
    ),
    (
        "dropout rate NaN",
        lambda: Dropout(float("nan"), name="d"),
        ValueError,
        "Dropout 'd': expected rate to be a number from 0 to 1, got nan",
    ),
    (
        "dropout seed",
        lambda: Dropout(0.5, seed=-1, name="d"),
        ValueError,
        "Dropout 'd': expected seed to be an integer from 0 on, got -1",
    ),
    (
        "dropout noise_shape",
        lambda: Dropout(0.5, noise_shape=(2, 7), name="d")(np.ones((2, 3)), training=True),
        ValueError,
        "Dropout 'd': expected inputs that broadcast with noise_shape (2, 7), got (2, 3)",
    ),
    (
        "flatten data_format",
        lambda: Flatten("channels_first", name="f"),
        ValueError,
        "Flatten 'f': expected data_format None or 'channels_last', got 'channels_first'",
    ),
    (
        "input without shape",
        lambda: Input(name="i"),
        ValueError,
        "InputLayer 'i': expected shape, got None",
    ),
    (
        "input both shapes",
        lambda: Input((3,), batch_shape=(None, 3), name="i"),
        ValueError,
        "InputLayer 'i': expected shape or batch_shape, got both",
    ),
    (
        "input batch_size",
        lambda: Input((3,), batch_size=0, name="i"),
        ValueError,
        "InputLayer 'i': expected batch_size to be a positive integer, got 0",
    ),
    (
        "layer rank 2",
        lambda: LSTM(3, name="e")(np.ones((2, 4))),
        ValueError,
        "LSTM 'e': expected inputs (batch, steps, features), got (2, 4)",
    ),
    (
        "layer rank 4",
        lambda: LSTM(3, name="e")(np.ones((2, 4, 3, 1))),
        ValueError,
        "LSTM 'e': expected inputs (batch, steps, features), got (2, 4, 3, 1)",
    ),
    (
        "layer rank 0",
        lambda: Dense(3, name="d")(1.0),
        ValueError,
        "Dense 'd': expected inputs (batch, ..., features), got ()",
    ),
    (
        "dense rank 1",
        lambda: Dense(3, name="d")(np.ones(3)),
        ValueError,
        "Dense 'd': expected inputs (batch, ..., features), got (3,)",
    ),
    (
        "layer features changed",
        lambda: lstm()(np.ones((2, 4, 7))),
        ValueError,
        "LSTM 'e': expected inputs (batch, steps, 3), got (2, 4, 7)",
    ),
    (
        "layer object",
        lambda: lstm()(np.array([[["a", 1]]], dtype=object)),
        TypeError,
        "LSTM 'e': expected inputs to be an array of real numbers, got dtype object",
    ),
    (
        "layer string",
        lambda: lstm()("text"),
        TypeError,
        "LSTM 'e': expected inputs to be an array of real numbers, got dtype <U4",
    ),
    (
        "layer complex",
        lambda: lstm()(np.ones((2, 4, 3), complex)),
        TypeError,
        "LSTM 'e': expected inputs to be an array of real numbers, got dtype complex128",
    ),
    (
        "layer ragged list",
        lambda: lstm()([[[1.0, 2.0, 3.0]], [[1.0]]]),
        ValueError,
        "LSTM 'e': expected inputs to be an array, got a list of unequal lengths",
    ),
    (
        "layer symbolic",
        lambda: np.asarray(Input((4, 3), name="i")),
        SymbolicError,
        "'i' is symbolic and holds no numbers: make a Model of it and call that on arrays",
    ),
    (
        "layer unknown call argument",
        lambda: Dense(3, name="d")(np.ones((2, 3)), initial_state=1),
        TypeError,
        "Dense 'd': unknown argument 'initial_state'",
    ),
    (
        "mask shape",
        lambda: lstm()(X, mask=np.ones((2, 5), bool)),
        ValueError,
        "LSTM 'e': expected mask (2, 4), got (2, 5)",
    ),
    (
        "mask rank",
        lambda: lstm()(X, mask=np.ones(2, bool)),
        ValueError,
        "LSTM 'e': expected mask (2, 4), got (2,)",
    ),
    (
        "mask float",
        lambda: lstm()(X, mask=np.ones((2, 4))),
        TypeError,
        "LSTM 'e': expected mask to be of bool, got dtype float64",
    ),
    (
        "initial_state array",
        lambda: lstm()(X, initial_state=np.ones((2, 2))),
        ValueError,
        "LSTM 'e': expected initial_state to be a list [h, c], got ndarray",
    ),
    (
        "initial_state one",
        lambda: lstm()(X, initial_state=[np.ones((2, 2))]),
        ValueError,
        "LSTM 'e': expected initial_state to be a list [h, c], got 1 arrays",
    ),
    (
        "initial_state shape",
        lambda: lstm()(X, initial_state=[np.ones((2, 2)), np.ones((3, 2))]),
        ValueError,
        "LSTM 'e': expected initial_state c (2, 2), got (3, 2)",
    ),
    (
        "initial_state string",
        lambda: lstm()(X, initial_state=["h", "c"]),
        TypeError,
        "LSTM 'e': expected initial_state h to be an array of real numbers, got dtype <U1",
    ),
    (
        "initial_state projection",
        lambda: LSTM(2, projection=1, name="e")(X, initial_state=[np.ones((2, 2))] * 2),
        ValueError,
        "LSTM 'e': expected initial_state h (2, 1), got (2, 2)",
    ),
    (
        "initial_state cell",
        lambda: LSTM(2, projection=1, name="e")(X, initial_state=[np.ones((2, 1))] * 2),
        ValueError,
        "LSTM 'e': expected initial_state c (2, 2), got (2, 1)",
    ),
    (
        "initial_state gates",
        lambda: LSTM(2, full_gate_recurrence=True, name="e")(X, initial_state=[np.ones((2, 2))] * 3),
        ValueError,
        "LSTM 'e': expected initial_state gates (2, 6), got (2, 2)",
    ),
    (
        "initial_state without gates",
        lambda: LSTM(2, full_gate_recurrence=True, name="e")(X, initial_state=[np.ones((2, 2))] * 2),
        ValueError,
        "LSTM 'e': expected initial_state to be a list [h, c, gates], got 2 arrays",
    ),
    (
        "initial_state symbolic",
        lambda: LSTM(2, name="e")(Input((4, 3)), initial_state=[Input((2,)), Input((3,))]),
        ValueError,
        "LSTM 'e': expected initial_state c (None, 2), got (None, 3)",
    ),
    (
        "backward twice",
        lambda: twice(),
        RuntimeError,
        "LSTM 'e': backward was already called for this forward call",
    ),
    (
        "backward shape",
        lambda: lstm().forward(X, training=True)[1](np.ones((2, 3))),
        ValueError,
        "LSTM 'e': expected d_y (2, 2), got (2, 3)",
    ),
    (
        "unbuilt get_weights",
        lambda: Dense(3, name="d").get_weights(),
        ValueError,
        "Dense 'd': not built yet: call build(input_shape), or run it on data, first",
    ),
    (
        "unbuilt set_weights",
        lambda: Dense(3, name="d").set_weights([]),
        ValueError,
        "Dense 'd': not built yet: call build(input_shape), or run it on data, first",
    ),
    (
        "unbuilt count_params",
        lambda: LSTM(3, name="e").count_params(),
        ValueError,
        "LSTM 'e': not built yet: call build(input_shape), or run it on data, first",
    ),
    (
        "build unknown features",
        lambda: LSTM(3, name="e").build((None, 4, None)),
        ValueError,
        "LSTM 'e': expected a known number of features, got (None, 4, None)",
    ),
    (
        "build rank",
        lambda: LSTM(3, name="e").build((None, 4)),
        ValueError,
        "LSTM 'e': expected inputs (batch, steps, features), got (None, 4)",
    ),
    (
        "set_weights count",
        lambda: lstm().set_weights([np.ones((3, 8))]),
        ValueError,
        "LSTM 'e': expected 3 weights, got 1",
    ),
    (
        "set_weights shape",
        lambda: lstm().set_weights([np.ones((3, 8)), np.ones((2, 8)), np.ones(7)]),
        ValueError,
        "variable 'e/bias': expected shape (8,), got (7,)",
    ),
    (
        "set_weights strings",
        lambda: lstm().set_weights([np.ones((3, 8)), np.ones((2, 8)), np.array(["a"] * 8)]),
        TypeError,
        "variable 'e/bias': expected real numbers, got dtype <U1",
    ),
    (
        "variable assign",
        lambda: lstm().kernel.assign(np.ones(3)),
        ValueError,
        "variable 'e/kernel': expected shape (3, 8), got (3,)",
    ),
    (
        "variable write",
        lambda: lstm().kernel.value.__setitem__(0, 1),
        ValueError,
        "assignment destination is read-only",
    ),
    (
        "add class",
        lambda: Sequential([LSTM], name="m"),
        TypeError,
        "Sequential 'm': expected a layer, got the class LSTM; call it to make one",
    ),
    (
        "add number",
        lambda: Sequential([3], name="m"),
        TypeError,
        "Sequential 'm': expected a layer, got 3",
    ),
    (
        "add name twice",
        lambda: Sequential([Dense(3, name="d"), Dense(3, name="d")], name="m"),
        ValueError,
        "Sequential 'm': expected layers of different names, got 'd' twice",
    ),
    (
        "add input later",
        lambda: Sequential([Dense(3, name="d"), Input((3,), name="i")], name="m"),
        ValueError,
        "Sequential 'm': expected an input in the first place only, got InputLayer 'i'",
    ),
    (
        "add misfit",
        lambda: Sequential([Input((4, 3), name="i"), LSTM(3, name="e"), LSTM(3, name="f")], name="m"),
        ValueError,
        "LSTM 'f': expected inputs (batch, steps, features), got (None, 3)",
    ),
    (
        "add several outputs",
        lambda: Sequential([Input((4, 3), name="i"), LSTM(3, return_state=True, name="e")], name="m"),
        ValueError,
        "Sequential 'm': expected layers of one output, LSTM 'e' has 3",
    ),
    (
        "pop empty",
        lambda: Sequential(name="m").pop(),
        ValueError,
        "Sequential 'm': expected a layer to remove, there is none",
    ),
    (
        "get_layer name",
        lambda: model().get_layer("nope"),
        ValueError,
        "Sequential 'm': no layer 'nope', there are: 'e', 'd'",
    ),
    (
        "get_layer index",
        lambda: model().get_layer(index=5),
        ValueError,
        "Sequential 'm': expected index of one of 2 layers, got 5",
    ),
    (
        "get_layer nothing",
        lambda: model().get_layer(),
        ValueError,
        "Sequential 'm': expected name or index in get_layer, got none",
    ),
    (
        "model unbuilt get_weights",
        lambda: unbuilt().get_weights(),
        ValueError,
        "Sequential 'm': not built yet: start with Input(shape), give the first layer input_shape=, or call "
        "build(input_shape)",
    ),
    (
        "model unbuilt set_weights",
        lambda: unbuilt().set_weights([]),
        ValueError,
        "Sequential 'm': not built yet: start with Input(shape), give the first layer input_shape=, or call "
        "build(input_shape)",
    ),
    (
        "model unbuilt input_shape",
        lambda: unbuilt().input_shape,
        ValueError,
        "Sequential 'm': not built yet: start with Input(shape), give the first layer input_shape=, or call "
        "build(input_shape)",
    ),
    (
        "model build no shape",
        lambda: unbuilt().build(),
        ValueError,
        "Sequential 'm': expected input_shape in build(), got None",
    ),
    (
        "model build misfit",
        lambda: unbuilt().build((None, 4)),
        ValueError,
        "LSTM 'e': expected inputs (batch, steps, features), got (None, 4)",
    ),
    (
        "empty model",
        lambda: Sequential(name="m").predict(X),
        ValueError,
        "Sequential 'm': expected at least one layer, there is none",
    ),
    (
        "compile loss",
        lambda: model().compile("adam", "msee"),
        ValueError,
        f"Sequential 'm': loss: unknown loss 'msee': expected one of {LOSS_NAMES}",
    ),
    (
        "compile loss number",
        lambda: model().compile("adam", 3),
        TypeError,
        "Sequential 'm': loss: expected a name, a fusedlstm.losses.Loss or a function, got 3",
    ),
    (
        "compile optimizer",
        lambda: model().compile("adamm", "mse"),
        ValueError,
        "Sequential 'm': optimizer: unknown optimizer 'adamm': expected one of 'sgd', 'rmsprop', 'adam', 'adamw', "
        "'nadam', 'adamax', 'adagrad', 'adadelta', 'lion'",
    ),
    (
        "compile optimizer number",
        lambda: model().compile(3, "mse"),
        TypeError,
        "Sequential 'm': optimizer: expected a name or an Optimizer, got 3",
    ),
    (
        "compile metric",
        lambda: model().compile("adam", "mse", metrics=["accurracy"]),
        ValueError,
        "Sequential 'm': metrics: unknown metric 'accurracy': expected one of "
        "'acc', 'accuracy', 'auc', 'bce', 'binary_accuracy', 'binary_crossentropy', 'categorical_accuracy', "
        "'categorical_crossentropy', 'categorical_hinge', 'concordance_correlation', 'cosine_similarity', "
        "'f1_score', 'f_beta_score', 'false_negatives', 'false_positives', 'fbeta_score', 'hinge', "
        "'kl_divergence', 'kld', 'log_cosh_error', 'mae', 'mape', 'mean', 'mean_absolute_error', "
        "'mean_absolute_percentage_error', 'mean_squared_error', 'mean_squared_logarithmic_error', 'mse', "
        "'msle', 'pearson_correlation', 'poisson', 'precision', 'precision_at_recall', 'r2_score', 'recall', "
        "'recall_at_precision', 'rmse', 'root_mean_squared_error', 'sensitivity_at_specificity', "
        "'sparse_categorical_accuracy', 'sparse_categorical_crossentropy', "
        "'sparse_top_k_categorical_accuracy', 'specificity_at_sensitivity', 'squared_hinge', 'sum', "
        "'top_k_categorical_accuracy', 'true_negatives', 'true_positives' or a loss's name",
    ),
    (
        "compile metrics number",
        lambda: model().compile("adam", "mse", metrics=3),
        TypeError,
        "Sequential 'm': expected metrics to be a list of metrics, got 3",
    ),
    (
        "fit validation_batch_size without validation",
        lambda: model().fit(X, Y, validation_batch_size=0, verbose=0),
        ValueError,
        "Sequential 'm': expected validation_batch_size to be a positive integer, got 0",
    ),
    (
        "compile loss_weights",
        lambda: model().compile("adam", "mse", loss_weights=[1, 2]),
        ValueError,
        "Sequential 'm': expected loss_weights to be a list or dict with an item for each of 1 outputs ('d'), "
        "got 2 items",
    ),
    (
        "compile unknown",
        lambda: model().compile("adam", "mse", metric=["mae"]),
        TypeError,
        "Runner.compile() got an unexpected keyword argument 'metric'",
    ),
    (
        "fit before compile",
        lambda: Sequential([Dense(1, name="d")], name="m").fit(X, Y),
        RuntimeError,
        "Sequential 'm': call compile() before fit()",
    ),
    (
        "fit without loss",
        lambda: model(loss=None).fit(X, Y),
        ValueError,
        "Sequential 'm': fit() needs compile(loss=...), got loss=None",
    ),
    (
        "fit x missing",
        lambda: model().fit(),
        ValueError,
        "Sequential 'm': expected x to be an array, got None",
    ),
    (
        "fit y missing",
        lambda: model().fit(X),
        ValueError,
        "Sequential 'm': expected y to be an array, got None",
    ),
    (
        "fit x rank",
        lambda: model().fit(np.ones((2, 3)), Y),
        ValueError,
        "Sequential 'm': expected x (batch, 4, 3), got (2, 3)",
    ),
    (
        "fit x features",
        lambda: model().fit(np.ones((2, 4, 5)), Y),
        ValueError,
        "Sequential 'm': expected x (batch, 4, 3), got (2, 4, 5)",
    ),
    (
        "fit x steps",
        lambda: model().fit(np.ones((2, 6, 3)), Y),
        ValueError,
        "Sequential 'm': expected x (batch, 4, 3), got (2, 6, 3)",
    ),
    (
        "fit x object",
        lambda: model().fit(np.full((2, 4, 3), None), Y),
        TypeError,
        "Sequential 'm': expected x to be an array of real numbers, got dtype object",
    ),
    (
        "fit x string",
        lambda: model().fit("data.csv", Y),
        TypeError,
        "Sequential 'm': expected x to be an array of real numbers, got dtype <U8",
    ),
    (
        "fit x dict",
        lambda: model().fit({"x": X}, Y),
        TypeError,
        "Sequential 'm': expected x to be one array, got a dict",
    ),
    (
        "fit x two arrays",
        lambda: model().fit([X, X], Y),
        ValueError,
        "Sequential 'm': expected x to be one array, got 2 arrays",
    ),
    (
        "fit x empty",
        lambda: model().fit(X[:0], Y[:0]),
        ValueError,
        "Sequential 'm': expected x to have at least one row, got 0",
    ),
    (
        "fit y rows",
        lambda: model().fit(X, np.ones((3, 1))),
        ValueError,
        "Sequential 'm': expected y to have 2 rows, as x has, got 3",
    ),
    (
        "fit y columns",
        lambda: model().fit(X, np.ones((2, 4))),
        ValueError,
        "Sequential 'm': y does not fit, seen in its first row: MeanSquaredError: expected y_true shaped "
        "like y_pred (1, 1), got (1, 4)",
    ),
    (
        "fit y string",
        lambda: model().fit(X, np.array(["a", "b"])),
        TypeError,
        "Sequential 'm': expected y to be an array of real numbers, got dtype <U1",
    ),
    (
        "fit y number",
        lambda: model().fit(X, 1.0),
        ValueError,
        "Sequential 'm': expected y to have a batch axis, got a single number",
    ),
    (
        "fit weight rows",
        lambda: model().fit(X, Y, sample_weight=np.ones(3)),
        ValueError,
        "Sequential 'm': expected sample_weight to have 2 rows, as x has, got 3",
    ),
    (
        "fit weight rank",
        lambda: model().fit(X, Y, sample_weight=np.ones((2, 1, 1))),
        ValueError,
        "Sequential 'm': expected sample_weight (2,) or (2, steps), got (2, 1, 1)",
    ),
    (
        "fit weight both",
        lambda: model().fit(X, Y, sample_weight=np.ones(2), class_weight={0: 1.0}),
        ValueError,
        "Sequential 'm': expected sample_weight or class_weight, got both",
    ),
    (
        "fit class_weight list",
        lambda: model().fit(X, Y, class_weight=[1, 2]),
        TypeError,
        "Sequential 'm': expected class_weight to be a dict, got list",
    ),
    (
        "fit class_weight key",
        lambda: model().fit(X, Y, class_weight={"a": 2}),
        TypeError,
        "Sequential 'm': expected class_weight to map classes to numbers, got 'a': 2",
    ),
    (
        "fit split 1",
        lambda: model().fit(X, Y, validation_split=1.0),
        ValueError,
        "Sequential 'm': expected validation_split to be a number from 0 to below 1, got 1.0",
    ),
    (
        "fit split negative",
        lambda: model().fit(X, Y, validation_split=-0.1),
        ValueError,
        "Sequential 'm': expected validation_split to be a number from 0 to below 1, got -0.1",
    ),
    (
        "fit split nothing left",
        lambda: model().fit(X, Y, validation_split=0.9),
        ValueError,
        "Sequential 'm': validation_split 0.9 leaves 0 rows to train on and 2 to validate",
    ),
    (
        "fit validation_data",
        lambda: model().fit(X, Y, validation_data=(X,)),
        ValueError,
        "Sequential 'm': expected validation_data (x, y) or (x, y, sample_weight), got 1 items",
    ),
    (
        "fit validation y",
        lambda: model().fit(X, Y, validation_data=(X, np.ones((2, 5)))),
        ValueError,
        "Sequential 'm': validation_data: y does not fit, seen in its first row: MeanSquaredError: expected "
        "y_true shaped like y_pred (1, 1), got (1, 5)",
    ),
    (
        "fit validation x",
        lambda: model().fit(X, Y, validation_data=(np.ones((2, 4, 4)), Y)),
        ValueError,
        "Sequential 'm': validation_data: expected x (batch, 4, 3), got (2, 4, 4)",
    ),
    (
        "fit batch_size zero",
        lambda: model().fit(X, Y, batch_size=0),
        ValueError,
        "Sequential 'm': expected batch_size to be a positive integer, got 0",
    ),
    (
        "fit batch_size float",
        lambda: model().fit(X, Y, batch_size=2.0),
        ValueError,
        "Sequential 'm': expected batch_size to be a positive integer, got 2.0",
    ),
    (
        "fit epochs",
        lambda: model().fit(X, Y, epochs=-1),
        ValueError,
        "Sequential 'm': expected epochs to be an integer from 0 on, got -1",
    ),
    (
        "fit epochs float",
        lambda: model().fit(X, Y, epochs=1.5),
        ValueError,
        "Sequential 'm': expected epochs to be an integer from 0 on, got 1.5",
    ),
    (
        "fit verbose",
        lambda: model().fit(X, Y, verbose=3),
        ValueError,
        "Sequential 'm': expected verbose 'auto', 0, 1 or 2, got 3",
    ),
    (
        "fit shuffle",
        lambda: model().fit(X, Y, shuffle="yes"),
        TypeError,
        "Sequential 'm': expected shuffle to be True or False, got 'yes'",
    ),
    (
        "fit callbacks",
        lambda: model().fit(X, Y, callbacks=[print]),
        TypeError,
        "callbacks[0]: expected a Callback, got <built-in function print>",
    ),
    (
        "fit steps_per_epoch",
        lambda: model().fit(X, Y, steps_per_epoch=0),
        ValueError,
        "Sequential 'm': expected steps_per_epoch to be a positive integer, got 0",
    ),
    (
        "fit validation_freq",
        lambda: model().fit(X, Y, validation_freq=0),
        ValueError,
        "Sequential 'm': expected validation_freq to be a positive integer, got 0",
    ),
    (
        "fit unknown",
        lambda: model().fit(X, Y, batchsize=2),
        TypeError,
        "Trainer.fit() got an unexpected keyword argument 'batchsize'",
    ),
    (
        "fit iterable with y",
        lambda: model().fit(iter([(X, Y)]), Y),
        ValueError,
        "Sequential 'm': expected y to be None when x is an iterable of batches, got ndarray",
    ),
    (
        "fit iterable batch_size",
        lambda: model().fit(iter([(X, Y)]), batch_size=2),
        ValueError,
        "Sequential 'm': expected batch_size to be None when x is an iterable of batches, got 2",
    ),
    (
        "fit iterable split",
        lambda: model().fit(iter([(X, Y)]), validation_split=0.5),
        ValueError,
        "Sequential 'm': expected validation_split 0 with an iterable of batches, got 0.5",
    ),
    (
        "fit iterable without y",
        lambda: model().fit(iter([X])),
        ValueError,
        "Sequential 'm': expected y to be an array, got None",
    ),
    (
        "evaluate before compile",
        lambda: Sequential([Dense(1, name="d")], name="m").evaluate(X, Y),
        RuntimeError,
        "Sequential 'm': call compile() before evaluate()",
    ),
    (
        "evaluate empty",
        lambda: model().evaluate(X[:0], Y[:0]),
        ValueError,
        "Sequential 'm': expected x to have at least one row, got 0",
    ),
    (
        "evaluate y",
        lambda: model().evaluate(X, np.ones((2, 4))),
        ValueError,
        "Sequential 'm': y does not fit, seen in its first row: MeanSquaredError: expected y_true shaped "
        "like y_pred (1, 1), got (1, 4)",
    ),
    (
        "predict features",
        lambda: model().predict(np.ones((2, 4, 5))),
        ValueError,
        "Sequential 'm': expected x (batch, 4, 3), got (2, 4, 5)",
    ),
    (
        "predict no batches",
        lambda: model().predict(iter([])),
        ValueError,
        "Sequential 'm': expected at least one batch to predict, got none",
    ),
    (
        "train_on_batch y",
        lambda: model().train_on_batch(X, np.ones((2, 4))),
        ValueError,
        "Sequential 'm': y does not fit, seen in its first row: MeanSquaredError: expected y_true shaped "
        "like y_pred (1, 1), got (1, 4)",
    ),
    (
        "test_on_batch empty",
        lambda: model().test_on_batch(X[:0], Y[:0]),
        ValueError,
        "Sequential 'm': expected x to have at least one row, got 0",
    ),
    (
        "compute_gradients y",
        lambda: model().compute_gradients(X, np.ones((2, 4))),
        ValueError,
        "Sequential 'm': y does not fit, seen in its first row: MeanSquaredError: expected y_true shaped "
        "like y_pred (1, 1), got (1, 4)",
    ),
    (
        "summary layer_range",
        lambda: model().summary(layer_range=("d", "nope")),
        ValueError,
        "Sequential 'm': no layer 'nope', there are: 'e', 'd'",
    ),
    (
        "sparse labels out of range",
        lambda: classifier().fit(X, np.array([0, 5])),
        ValueError,
        "SparseCategoricalCrossentropy: expected labels in 0 ... 2 for y_pred (2, 3), got 0 ... 5",
    ),
    (
        "set_backend",
        lambda: fusedlstm.set_backend("fortran"),
        ValueError,
        "unknown backend 'fortran': expected one of 'c', 'cuda', 'numba', 'reference'",
    ),
    (
        "set_random_seed",
        lambda: fusedlstm.utils.set_random_seed("1"),
        TypeError,
        "set_random_seed: expected seed to be an integer, got '1'",
    ),
    (
        "unknown attribute",
        lambda: fusedlstm.lstm,
        AttributeError,
        "module 'fusedlstm' has no attribute 'lstm'",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_a_bad_call_raises(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message


FITS = {
    "x features": ((np.ones((2, 4, 5)), Y), {}),
    "x rank": ((np.ones((2, 3)), Y), {}),
    "x empty": ((X[:0], Y[:0]), {}),
    "y rows": ((X, np.ones((3, 1))), {}),
    "y columns": ((X, np.ones((2, 4))), {}),
    "y strings": ((X, np.array(["a", "b"])), {}),
    "weight": ((X, Y), {"sample_weight": np.ones(3)}),
    "split": ((X, Y), {"validation_split": 2.0}),
    "batch_size": ((X, Y), {"batch_size": 0}),
    "validation x": ((X, Y), {"validation_data": (np.ones((2, 4, 5)), Y)}),
    "validation y": ((X, Y), {"validation_data": (X, np.ones((2, 4)))}),
    "callbacks": ((X, Y), {"callbacks": [3]}),
}


def state(made):
    """All that a refused call could have changed."""
    weights = [variable.numpy() for variable in made.weights]
    versions = [variable.version for variable in made.weights]
    slots = [np.array(variable) for variable in made.optimizer.variables]
    return weights, versions, slots, made.built, made.history


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("trained", [False, True])
def test_a_refused_fit_changes_nothing(name, trained):
    made = model()
    made.compile("adam", "mse", metrics=["mae"])
    if trained:
        made.fit(X, Y, verbose=0)
    arguments, more = FITS[name]
    before = state(made)
    with pytest.raises((TypeError, ValueError)):
        made.fit(*arguments, verbose=0, **more)
    after = state(made)
    for old, new in zip(before[0] + before[2], after[0] + after[2], strict=True):
        np.testing.assert_array_equal(old, new)
    assert before[1] == after[1]
    assert before[3] == after[3]
    assert before[4] is after[4]


@pytest.mark.parametrize("name", [name for name in FITS if name not in ("x features", "validation x")])
def test_a_refused_fit_leaves_a_model_unbuilt(name):
    made = unbuilt()
    made.compile("adam", "mse")
    arguments, more = FITS[name]
    with pytest.raises((TypeError, ValueError)):
        made.fit(*arguments, verbose=0, **more)
    assert not made.built
    assert not any(layer.built for layer in made.layers)


def test_a_refused_build_builds_no_layer():
    made = Sequential([LSTM(2, name="e"), LSTM(2, name="f")], name="m")
    with pytest.raises(ValueError, match=r"^LSTM 'f': expected inputs \(batch, steps, features\), got \(None, 2\)$"):
        made.build((None, 4, 3))
    assert not made.built
    assert not any(layer.built for layer in made.layers)


def test_a_refused_add_leaves_the_model_as_it_was():
    made = Sequential([Input((4, 3)), LSTM(2, name="e")], name="m")
    before = made.get_weights()
    with pytest.raises(ValueError, match=r"^LSTM 'f': expected inputs"):
        made.add(LSTM(2, name="f"))
    assert [layer.name for layer in made.layers] == ["e"]
    made.add(Dense(1, name="d"))
    for old, new in zip(before, made.get_weights()[:3], strict=True):
        np.testing.assert_array_equal(old, new)
    assert made.predict(X, verbose=0).shape == (2, 1)


@pytest.mark.parametrize("bad", [[np.ones((3, 8))], "shape", "strings"])
def test_refused_set_weights_change_nothing(bad):
    made = model()
    before = state(made)
    weights = [w + 1 for w in made.get_weights()]
    if bad == "shape":
        weights[-1] = np.ones(7)
    elif bad == "strings":
        weights[-1] = np.array(["a"])
    else:
        weights = bad
    with pytest.raises((TypeError, ValueError)):
        made.set_weights(weights)
    after = state(made)
    assert before[1] == after[1]
    for old, new in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_refused_compile_keeps_the_old_one():
    made = model()
    optimizer = made.optimizer
    for arguments in (("adam", "msee"), ("adamm", "mse"), ("adam", "mse", None, ["nope"])):
        with pytest.raises(ValueError, match=r"^Sequential 'm': "):
            made.compile(*arguments)
        assert made.optimizer is optimizer
    made.fit(X, Y, verbose=0)


def test_nan_in_the_data_is_no_error_and_shows_in_the_loss():
    made = model()
    x = X.copy()
    x[0, 0, 0] = np.nan
    history = made.fit(x, Y, verbose=0).history
    assert np.isnan(history["loss"][0])
    predictions = model().predict(x, verbose=0)
    assert np.isnan(predictions[0]).all()
    assert np.isfinite(predictions[1]).all()
