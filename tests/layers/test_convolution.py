"""Conv1D."""

import numpy as np
import pytest
from layers.layer_gradients import check_layer, pairs

from fusedlstm.layers import Conv1D

RNG = np.random.default_rng(0)
GRID = pairs(
    {
        "kernel_size": [1, 2, 3],
        "steps_of_windows": [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)],  # strides, dilation_rate
        "padding": ["valid", "same", "causal"],
        "groups": [1, 2],
        "activation": [None, "tanh", "softmax"],
        "use_bias": [False, True],
        "steps": [7, 8],
    }
)


def naive(x, kernel, bias, strides, dilation, padding, groups):
    """One window, group and filter at a time."""
    size, part, filters = kernel.shape
    span = dilation * (size - 1) + 1
    ahead = behind = 0
    if padding == "causal":
        ahead = span - 1
    elif padding == "same":
        total = max(0, (-(-x.shape[1] // strides) - 1) * strides + span - x.shape[1])
        ahead, behind = total // 2, total - total // 2
    x = np.pad(x, [(0, 0), (ahead, behind), (0, 0)])
    starts = range(0, x.shape[1] - span + 1, strides)
    y = np.zeros((len(x), len(starts), filters))
    for t, start in enumerate(starts):
        window = x[:, start : start + span : dilation]
        for f in range(filters):
            first = part * (f // (filters // groups))
            y[:, t, f] = (window[:, :, first : first + part] * kernel[:, :, f]).sum(axis=(1, 2)) + bias[f]
    return y


@pytest.mark.parametrize("options", GRID)
def test_values_and_gradients(options):
    strides, dilation = options["steps_of_windows"]
    x = RNG.normal(size=(2, options["steps"], 4))
    names = ("kernel_size", "padding", "groups", "activation", "use_bias")
    layer = Conv1D(
        6, strides=strides, dilation_rate=dilation, dtype="float64", **{name: options[name] for name in names}
    )
    check_layer(layer, x)
    kernel = layer.kernel.value
    assert kernel.shape == (options["kernel_size"], 4 // options["groups"], 6)
    bias = layer.bias.value if options["use_bias"] else np.zeros(6)
    expected = naive(x, kernel, bias, strides, dilation, options["padding"], options["groups"])
    np.testing.assert_allclose(layer(x), layer.activation.forward(expected), rtol=1e-10, atol=1e-12)


def test_causal_looks_at_no_later_step():
    layer, x = Conv1D(3, 3, padding="causal", dilation_rate=2), RNG.normal(size=(1, 9, 2))
    before = layer(x)
    x[:, 5:] += 1
    np.testing.assert_array_equal(layer(x)[:, :5], before[:, :5])


def test_float32_and_any_strides():
    layer = Conv1D(3, 3, padding="same")
    x = RNG.normal(size=(4, 10, 6)).astype("float32")
    assert layer(x[::2, ::-1, ::2]).dtype == np.float32
    np.testing.assert_allclose(layer(x[::2, ::-1, ::2]), layer(x[::2, ::-1, ::2].copy()), rtol=1e-5, atol=1e-6)
    assert layer(np.zeros((0, 5, 3))).shape == (0, 5, 3)


def test_regularizers_and_constraints_are_the_variables():
    layer = Conv1D(2, 3, kernel_regularizer="l2", bias_constraint="non_neg")
    layer.build((None, 5, 1))
    assert layer.kernel.regularizer.l2 == 0.01
    assert layer.kernel.constraint is None
    assert layer.bias.regularizer is None
    np.testing.assert_array_equal(layer.bias.constraint(np.array([-1.0, 2.0])), [0, 2])
    copy = Conv1D.from_config(layer.get_config())
    assert copy.kernel_regularizer.l2 == 0.01
    assert copy.get_config() == layer.get_config()
