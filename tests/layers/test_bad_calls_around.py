"""Wrong arguments and inputs of the layers around the recurrent ones: one clear message each, and nothing changed."""

import numpy as np
import pytest

from fusedlstm.layers import (
    LSTM,
    Add,
    AdditiveAttention,
    Attention,
    AveragePooling1D,
    BatchNormalization,
    Concatenate,
    Conv1D,
    Dense,
    Dot,
    Embedding,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    LayerNormalization,
    Masking,
    MaxPooling1D,
    MultiHeadAttention,
    Multiply,
    Permute,
    ReLU,
    RepeatVector,
    Reshape,
    Softmax,
    SpatialDropout1D,
    Subtract,
    TimeDistributed,
)

X = np.ones((2, 4, 6), "float32")
V = np.ones((2, 5, 6), "float32")
IDS = np.array([[0, 6]])


def backward_of(layer, inputs, d_outputs):
    """Call backward with a gradient."""
    return layer.forward(inputs, training=True)[1](d_outputs)


def built(layer, shape):
    layer.build(shape)
    return layer


# The call, the error, the message.
CALLS = {
    "embedding size": (
        lambda: Embedding(0, 3, name="e"),
        ValueError,
        "Embedding 'e': expected input_dim to be a positive integer, got 0",
    ),
    "embedding width": (
        lambda: Embedding(5, 2.5, name="e"),
        ValueError,
        "Embedding 'e': expected output_dim to be a positive integer, got 2.5",
    ),
    "embedding unknown argument": (
        lambda: Embedding(5, 3, lora_rank=2, name="e"),
        TypeError,
        "Embedding 'e': unknown argument 'lora_rank'",
    ),
    "embedding mask_zero": (
        lambda: Embedding(5, 3, mask_zero=1, name="e"),
        TypeError,
        "Embedding 'e': expected mask_zero to be True or False, got 1",
    ),
    "embedding id too large": (
        lambda: Embedding(6, 3, name="e")(IDS),
        ValueError,
        "Embedding 'e': expected ids in 0 ... 5, got 6",
    ),
    "embedding id negative": (
        lambda: Embedding(6, 3, name="e")(-IDS),
        ValueError,
        "Embedding 'e': expected ids in 0 ... 5, got -6",
    ),
    "embedding id nan": (
        lambda: Embedding(6, 3, name="e")([np.nan, 1.0]),
        ValueError,
        "Embedding 'e': expected ids in 0 ... 5, got nan",
    ),
    "embedding id infinite": (
        lambda: Embedding(6, 3, name="e")([np.inf, 1.0]),
        ValueError,
        "Embedding 'e': expected ids in 0 ... 5, got inf",
    ),
    "embedding id a fraction": (
        lambda: Embedding(6, 3, name="e")([1.5, 1.0]),
        ValueError,
        "Embedding 'e': expected ids to be whole numbers, got 1.5",
    ),
    "embedding words": (
        lambda: Embedding(6, 3, name="e")(["a", "b"]),
        TypeError,
        "Embedding 'e': expected inputs to be an array of real numbers, got dtype <U1",
    ),
    "embedding weights": (
        lambda: Embedding(6, 3, weights=np.ones((3, 6)), name="e"),
        ValueError,
        "Embedding 'e': expected weights (6, 3), got (3, 6)",
    ),
    "embedding regularizer": (
        lambda: Embedding(6, 3, embeddings_regularizer="l3", name="e"),
        ValueError,
        "Embedding 'e': embeddings_regularizer: unknown regularizer 'l3': expected one of 'l1', 'l1_l2', 'l2', "
        "'orthogonal_regularizer'",
    ),
    "embedding constraint": (
        lambda: Embedding(6, 3, embeddings_constraint=3, name="e"),
        TypeError,
        "Embedding 'e': embeddings_constraint: expected a name, a Constraint or a function, got 3",
    ),
    "masking value": (
        lambda: Masking("0", name="m"),
        TypeError,
        "Masking 'm': expected mask_value to be a number, got '0'",
    ),
    "masking nan": (
        lambda: Masking(float("nan"), name="m"),
        ValueError,
        "Masking 'm': expected mask_value to be a number that equals itself, got nan",
    ),
    "masking inputs": (
        lambda: Masking(name="m")(np.ones(3)),
        ValueError,
        "Masking 'm': expected inputs (batch, ..., features), got (3,)",
    ),
    "relu slope": (
        lambda: ReLU(negative_slope=-1, name="r"),
        ValueError,
        "ReLU 'r': expected negative_slope to be a finite number from 0 on, got -1",
    ),
    "relu threshold": (
        lambda: ReLU(threshold=None, name="r"),
        ValueError,
        "ReLU 'r': expected threshold to be a finite number from 0 on, got None",
    ),
    "relu max_value": (
        lambda: ReLU(float("inf"), name="r"),
        ValueError,
        "ReLU 'r': expected max_value to be a finite number from 0 on, got inf",
    ),
    "softmax axis": (
        lambda: Softmax("features", name="s"),
        ValueError,
        "Softmax 's': expected axis to be an integer or several, got 'features'",
    ),
    "softmax inputs": (
        lambda: Softmax(3, name="s")(X),
        ValueError,
        "Softmax 's': expected inputs with an axis 3, got (2, 4, 6)",
    ),
    "softmax mask": (
        lambda: Softmax(name="s")(X, mask=np.ones((3, 5), bool)),
        ValueError,
        "Softmax 's': expected a mask that broadcasts against inputs (2, 4, 6), got (3, 5)",
    ),
    "softmax mask of floats": (
        lambda: Softmax(name="s")(X, mask=np.ones((2, 4))),
        TypeError,
        "Softmax 's': expected mask to be of bool, got dtype float64",
    ),
    "attention score_mode": (
        lambda: Attention(score_mode="sum", name="a"),
        ValueError,
        "Attention 'a': expected score_mode 'dot' or 'concat', got 'sum'",
    ),
    "attention dropout": (
        lambda: Attention(dropout=2, name="a"),
        ValueError,
        "Attention 'a': expected dropout to be a number from 0 to 1, got 2",
    ),
    "attention seed": (
        lambda: Attention(dropout=0.5, seed=1.5, name="a"),
        TypeError,
        "Attention 'a': expected seed to be an integer, got 1.5",
    ),
    "attention one array": (
        lambda: Attention(name="a")(X),
        ValueError,
        "Attention 'a': expected inputs [query, value] or [query, value, key] of (batch, steps, features), "
        "got one of shape (2, 4, 6)",
    ),
    "attention one input": (
        lambda: Attention(name="a")([X]),
        ValueError,
        "Attention 'a': expected inputs [query, value] or [query, value, key] of (batch, steps, features), "
        "got (2, 4, 6)",
    ),
    "attention features": (
        lambda: Attention(name="a")([X, V[..., :3]]),
        ValueError,
        "Attention 'a': expected inputs [query, value] or [query, value, key] of (batch, steps, features), "
        "got (2, 4, 6), (2, 5, 3)",
    ),
    "attention keys": (
        lambda: Attention(name="a")([X, V, X]),
        ValueError,
        "Attention 'a': expected inputs [query, value] or [query, value, key] of (batch, steps, features), "
        "got (2, 4, 6), (2, 5, 6), (2, 4, 6)",
    ),
    "attention mask": (
        lambda: Attention(name="a")([X, V], mask=np.ones((2, 4), bool)),
        ValueError,
        "Attention 'a': expected mask to be a list [query_mask, value_mask], got ndarray",
    ),
    "attention mask's shape": (
        lambda: Attention(name="a")([X, V], mask=[None, np.ones((2, 4), bool)]),
        ValueError,
        "Attention 'a': expected mask (2, 5), got (2, 4)",
    ),
    "attention unknown call argument": (
        lambda: Attention(name="a")([X, V], use_causal=True),
        TypeError,
        "Attention 'a': unknown argument 'use_causal'",
    ),
    "additive attention score_mode": (
        lambda: AdditiveAttention(score_mode="dot"),
        TypeError,
        "AdditiveAttention: unknown argument 'score_mode'",
    ),
    "additive attention features": (
        lambda: AdditiveAttention(name="a").build([(None, None, None), (None, None, 3)]),
        ValueError,
        "AdditiveAttention 'a': expected a known number of features, got (None, None, None)",
    ),
    "multi-head attention heads": (
        lambda: MultiHeadAttention(0, 3, name="m"),
        ValueError,
        "MultiHeadAttention 'm': expected num_heads to be a positive integer, got 0",
    ),
    "multi-head attention output_shape": (
        lambda: MultiHeadAttention(2, 3, output_shape=(2, -1), name="m"),
        ValueError,
        "MultiHeadAttention 'm': expected output_shape to be a positive integer, got -1",
    ),
    "multi-head attention axes": (
        lambda: MultiHeadAttention(2, 3, attention_axes=(1, 2), name="m"),
        ValueError,
        "MultiHeadAttention 'm': expected attention_axes None or 1, got (1, 2)",
    ),
    "multi-head attention gate": (
        lambda: MultiHeadAttention(2, 3, use_gate=True, name="m"),
        ValueError,
        "MultiHeadAttention 'm': use_gate is not available yet, expected False, got True",
    ),
    "multi-head attention inputs": (
        lambda: MultiHeadAttention(2, 3, name="m")(X, V[0]),
        ValueError,
        "MultiHeadAttention 'm': expected inputs query (batch, steps, features), value and key of the same steps, "
        "got (2, 4, 6), (5, 6)",
    ),
    "multi-head attention other features": (
        lambda: built(MultiHeadAttention(2, 3, name="m"), [X.shape, V.shape])(X, X[..., :3]),
        ValueError,
        "MultiHeadAttention 'm': expected inputs query (batch, steps, 6), value (batch, other steps, 6), "
        "key (batch, other steps, 6), got (2, 4, 6), (2, 4, 3)",
    ),
    "multi-head attention mask": (
        lambda: MultiHeadAttention(2, 3, name="m")(X, V, attention_mask=np.ones((2, 4, 4), bool)),
        ValueError,
        "MultiHeadAttention 'm': expected attention_mask (2, 4, 5), got (2, 4, 4)",
    ),
    "multi-head attention mask of floats": (
        lambda: MultiHeadAttention(2, 3, name="m")(X, V, attention_mask=np.ones((4, 5))),
        TypeError,
        "MultiHeadAttention 'm': expected mask to be of bool, got dtype float64",
    ),
    "layer normalization axis": (
        lambda: LayerNormalization(0, name="l"),
        ValueError,
        "LayerNormalization 'l': expected axis to be an integer other than 0, or several, got 0",
    ),
    "layer normalization epsilon": (
        lambda: LayerNormalization(epsilon=-1e-3, name="l"),
        ValueError,
        "LayerNormalization 'l': expected epsilon to be a finite number above 0, got -0.001",
    ),
    "layer normalization inputs": (
        lambda: LayerNormalization(3, name="l")(X),
        ValueError,
        "LayerNormalization 'l': expected inputs (batch, ...) with an axis 3, got (2, 4, 6)",
    ),
    "layer normalization other size": (
        lambda: built(LayerNormalization(name="l"), X.shape)(X[..., :5]),
        ValueError,
        "LayerNormalization 'l': expected inputs (batch, ...) with an axis -1 of size 6, got (2, 4, 5)",
    ),
    "layer normalization unknown size": (
        lambda: LayerNormalization(name="l").build((None, None)),
        ValueError,
        "LayerNormalization 'l': expected a known size of axis -1, got (None, None)",
    ),
    "batch normalization axes": (
        lambda: BatchNormalization([1, 2], name="b"),
        ValueError,
        "BatchNormalization 'b': expected axis to be one integer, got [1, 2]",
    ),
    "batch normalization momentum": (
        lambda: BatchNormalization(momentum=1.5, name="b"),
        ValueError,
        "BatchNormalization 'b': expected momentum to be a number from 0 to 1, got 1.5",
    ),
    "batch normalization renorm": (
        lambda: BatchNormalization(renorm=True, name="b"),
        ValueError,
        "BatchNormalization 'b': renorm is not available yet, expected False, got True",
    ),
    "batch normalization mask": (
        lambda: BatchNormalization(name="b")(X, mask=np.ones(2, bool)),
        ValueError,
        "BatchNormalization 'b': expected mask (2, 4), got (2,)",
    ),
    "conv filters": (
        lambda: Conv1D(0, 3, name="c"),
        ValueError,
        "Conv1D 'c': expected filters to be a positive integer, got 0",
    ),
    "conv kernel_size": (
        lambda: Conv1D(2, (3, 3), name="c"),
        ValueError,
        "Conv1D 'c': expected kernel_size to be a positive integer, got (3, 3)",
    ),
    "conv padding": (
        lambda: Conv1D(2, 3, padding="full", name="c"),
        ValueError,
        "Conv1D 'c': expected padding 'valid', 'same' or 'causal', got 'full'",
    ),
    "conv strides and dilation": (
        lambda: Conv1D(2, 3, strides=2, dilation_rate=3, name="c"),
        ValueError,
        "Conv1D 'c': expected strides or dilation_rate to be 1, got 2 and 3",
    ),
    "conv data_format": (
        lambda: Conv1D(2, 3, data_format="channels_first", name="c"),
        ValueError,
        "Conv1D 'c': expected data_format None or 'channels_last', got 'channels_first'",
    ),
    "conv groups of filters": (
        lambda: Conv1D(3, 3, groups=2, name="c"),
        ValueError,
        "Conv1D 'c': expected filters to divide into 2 groups, got 3",
    ),
    "conv groups of channels": (
        lambda: Conv1D(4, 3, groups=4, name="c")(X),
        ValueError,
        "Conv1D 'c': expected channels that divide into 4 groups, got 6",
    ),
    "conv too few steps": (
        lambda: Conv1D(4, 3, dilation_rate=2, name="c")(X),
        ValueError,
        "Conv1D 'c': expected inputs (batch, steps, channels) of at least 5 steps, got (2, 4, 6)",
    ),
    "conv other channels": (
        lambda: built(Conv1D(4, 3, padding="same", name="c"), X.shape)(X[..., :3]),
        ValueError,
        "Conv1D 'c': expected inputs (batch, steps, 6), got (2, 4, 3)",
    ),
    "conv unknown channels": (
        lambda: Conv1D(4, 3, name="c").build((None, 5, None)),
        ValueError,
        "Conv1D 'c': expected a known number of channels, got (None, 5, None)",
    ),
    "conv gradient": (
        lambda: backward_of(Conv1D(4, 3, name="c"), X, np.ones((2, 4, 4))),
        ValueError,
        "Conv1D 'c': expected d_y (2, 2, 4), got (2, 4, 4)",
    ),
    "add one array": (
        lambda: Add(name="a")(X),
        ValueError,
        "Add 'a': expected inputs a list of arrays that broadcast, of one batch size, got one of shape (2, 4, 6)",
    ),
    "add nothing": (
        lambda: Add(name="a")([]),
        ValueError,
        "Add 'a': expected inputs a list of arrays that broadcast, of one batch size, got an empty list",
    ),
    "add shapes": (
        lambda: Add(name="a")([X, V]),
        ValueError,
        "Add 'a': expected inputs a list of arrays that broadcast, of one batch size, got (2, 4, 6), (2, 5, 6)",
    ),
    "multiply batches": (
        lambda: Multiply(name="m")([X, X[:1]]),
        ValueError,
        "Multiply 'm': expected inputs a list of arrays that broadcast, of one batch size, got (2, 4, 6), (1, 4, 6)",
    ),
    "multiply masks": (
        lambda: Multiply(name="m")([X, X], mask=[None]),
        ValueError,
        "Multiply 'm': expected mask to be a list of 2, as the inputs, got 1 masks",
    ),
    "multiply mask's shape": (
        lambda: Multiply(name="m")([X, X], mask=[None, np.ones((2, 5), bool)]),
        ValueError,
        "Multiply 'm': expected mask (2, 4), got (2, 5)",
    ),
    "subtract three": (
        lambda: Subtract(name="s")([X, X, X]),
        ValueError,
        "Subtract 's': expected inputs a list of 2 arrays that broadcast, of one batch size, "
        "got (2, 4, 6), (2, 4, 6), (2, 4, 6)",
    ),
    "concatenate axis": (
        lambda: Concatenate(0, name="c"),
        ValueError,
        "Concatenate 'c': expected axis to be an integer other than 0, got 0",
    ),
    "concatenate shapes": (
        lambda: Concatenate(name="c")([X, V]),
        ValueError,
        "Concatenate 'c': expected inputs a list of arrays of one shape but for axis -1, got (2, 4, 6), (2, 5, 6)",
    ),
    "dot axes": (
        lambda: Dot((1, 2, 3), name="d"),
        ValueError,
        "Dot 'd': expected axes to be one or two integers other than 0, got (1, 2, 3)",
    ),
    "dot shapes": (
        lambda: Dot(1, name="d")([X, V]),
        ValueError,
        "Dot 'd': expected inputs a list of 2 arrays of one batch size, with axis 1 of the first as long as 1 of the "
        "second, got (2, 4, 6), (2, 5, 6)",
    ),
    "pooling size": (
        lambda: AveragePooling1D(0, name="p"),
        ValueError,
        "AveragePooling1D 'p': expected pool_size to be a positive integer, got 0",
    ),
    "pooling strides": (
        lambda: MaxPooling1D(2, strides=-1, name="p"),
        ValueError,
        "MaxPooling1D 'p': expected strides to be a positive integer, got -1",
    ),
    "pooling padding": (
        lambda: MaxPooling1D(padding="causal", name="p"),
        ValueError,
        "MaxPooling1D 'p': expected padding 'valid' or 'same', got 'causal'",
    ),
    "pooling too few steps": (
        lambda: MaxPooling1D(5, name="p")(X),
        ValueError,
        "MaxPooling1D 'p': expected inputs (batch, steps, features) of at least 5 steps, got (2, 4, 6)",
    ),
    "global pooling inputs": (
        lambda: GlobalMaxPooling1D(name="p")(X[0]),
        ValueError,
        "GlobalMaxPooling1D 'p': expected inputs (batch, steps, features), got (4, 6)",
    ),
    "global pooling mask": (
        lambda: GlobalAveragePooling1D(name="p")(X, mask=np.ones((2, 5), bool)),
        ValueError,
        "GlobalAveragePooling1D 'p': expected mask (2, 4), got (2, 5)",
    ),
    "reshape target": (
        lambda: Reshape((-1, -1), name="r"),
        ValueError,
        "Reshape 'r': expected target_shape to be a tuple of sizes, at most one of them -1, got (-1, -1)",
    ),
    "reshape size": (
        lambda: Reshape((5, -1), name="r")(X),
        ValueError,
        "Reshape 'r': expected inputs (batch, ...) that reshape to (batch, 5, -1), got (2, 4, 6)",
    ),
    "permute dims": (
        lambda: Permute((0, 1), name="p"),
        ValueError,
        "Permute 'p': expected dims to be the axes 1, 2 ... in some order, got (0, 1)",
    ),
    "permute inputs": (
        lambda: Permute((2, 1), name="p")(X[0]),
        ValueError,
        "Permute 'p': expected inputs of 3 axes, got (4, 6)",
    ),
    "repeat n": (
        lambda: RepeatVector(2.0, name="r"),
        ValueError,
        "RepeatVector 'r': expected n to be a positive integer, got 2.0",
    ),
    "repeat inputs": (
        lambda: RepeatVector(2, name="r")(X),
        ValueError,
        "RepeatVector 'r': expected inputs (batch, features), got (2, 4, 6)",
    ),
    "spatial dropout rate": (
        lambda: SpatialDropout1D(1.5, name="s"),
        ValueError,
        "SpatialDropout1D 's': expected rate to be a number from 0 to 1, got 1.5",
    ),
    "spatial dropout inputs": (
        lambda: SpatialDropout1D(0.5, name="s")(X[0]),
        ValueError,
        "SpatialDropout1D 's': expected inputs (batch, steps, features), got (4, 6)",
    ),
    "noise stddev": (
        lambda: GaussianNoise(-1, name="g"),
        ValueError,
        "GaussianNoise 'g': expected stddev to be a finite number from 0 on, got -1",
    ),
    "noise seed": (
        lambda: GaussianNoise(1, seed="s", name="g"),
        TypeError,
        "GaussianNoise 'g': expected seed to be an integer, got 's'",
    ),
    "time distributed layer": (
        lambda: TimeDistributed(3),
        TypeError,
        "TimeDistributed: expected layer to be a layer, got 3",
    ),
    "time distributed dtype": (
        lambda: TimeDistributed(Dense(2, name="d"), dtype="float64", name="t"),
        ValueError,
        "TimeDistributed 't': expected dtype float32, that of Dense 'd', got float64",
    ),
    "time distributed inputs": (
        lambda: TimeDistributed(Dense(2, name="d"), name="t")(X[0, 0]),
        ValueError,
        "TimeDistributed 't': expected inputs (batch, steps, ...) with inputs of Dense 'd' at each step, got (6,)",
    ),
    "time distributed inner inputs": (
        lambda: TimeDistributed(LSTM(2, name="l"), name="t")(X),
        ValueError,
        "LSTM 'l': expected inputs (batch, steps, features), got (8, 6)",
    ),
    "time distributed mask": (
        lambda: TimeDistributed(Dense(2, name="d"), name="t")(X, mask=np.ones((2, 5), bool)),
        ValueError,
        "TimeDistributed 't': expected mask (2, 4), got (2, 5)",
    ),
    "time distributed outputs": (
        lambda: TimeDistributed(LSTM(2, return_state=True, name="l"), name="t")(X[:, :, :, None]),
        ValueError,
        "TimeDistributed 't': expected a layer of one output, LSTM 'l' has 3",
    ),
    "time distributed config": (
        lambda: TimeDistributed.from_config({"layer": {"class_name": "os", "config": {}}}),
        ValueError,
        "TimeDistributed: unknown layer class 'os': a subclass of Layer goes into custom_objects={'os': ...}",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_message(name):
    call, error, message = CALLS[name]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message


def test_a_wrong_call_builds_nothing_and_a_right_one_goes_after_it():
    for layer, wrong, right in (
        (Embedding(6, 3), IDS, IDS - IDS),
        (Conv1D(4, 3), X[:, :2], X),
        (MultiHeadAttention(2, 3), None, None),
        (BatchNormalization(), X[0, 0], X),
    ):
        if wrong is None:
            with pytest.raises(ValueError, match="expected inputs"):
                layer(X, V[:1])
            assert not layer.built
            assert layer(X, V).shape == X.shape
            continue
        with pytest.raises(ValueError, match="expected"):
            layer(wrong)
        assert not layer.built
        assert layer.weights == []
        layer(right)
        assert layer.built
