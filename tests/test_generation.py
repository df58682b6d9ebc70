"""`model.generate`: what the stream writes is what predicting from the whole text, over and over, gives."""

from __future__ import annotations

import numpy as np
import pytest

from fusedlstm.generation import choose
from fusedlstm.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Add,
    Attention,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GRUCell,
    Input,
    LayerNormalization,
    Masking,
    SimpleRNN,
    Softmax,
    SpatialDropout1D,
    TimeDistributed,
)
from fusedlstm.models import Model, Sequential
from fusedlstm.utils import set_random_seed

V = 11


def residual():
    ids = Input((None,))
    x = Embedding(V, 6)(ids)
    y = LayerNormalization()(LSTM(6, return_sequences=True)(x))
    z, state = GRU(6, return_sequences=True, return_state=True)(Add()([x, y]))
    joined = Concatenate()([x * 0.5 + z, y])
    return Model(ids, Dense(V, activation="softmax")(Concatenate()([joined[:, -1], joined[:, -1, :3], state])))


def nested():
    inner = Sequential([Input((None, 6)), LSTM(5, return_sequences=True), SpatialDropout1D(0.5)], name="inner")
    ids = Input((None,))
    return Model(ids, Dense(V)(GRU(7)(inner(Embedding(V, 6)(ids)))))


def own_class():
    class Own(Model):
        def __init__(self):
            super().__init__()
            self.table, self.rnn, self.head = Embedding(V, 4), SimpleRNN(9), Dense(V)

        def call(self, inputs):
            return self.head(self.rnn(self.table(inputs)))

    return Own()


MODELS = {
    "stacked": lambda: Sequential([
        Input((None,)), Embedding(V, 5), LSTM(8, return_sequences=True), Dropout(0.5), GRU(6, return_sequences=True),
        BatchNormalization(), SimpleRNN(7), Dense(V, activation="softmax"),
    ]),
    "every step": lambda: Sequential([
        Input((None,)), Embedding(V, 5), LSTM(8, return_sequences=True), TimeDistributed(Dense(V)), Softmax(),
    ]),
    "one-hot": lambda: Sequential([Input((None, V)), LSTM(8, dropout=0.2), Dense(V), Activation("log_softmax")]),
    "float64, options": lambda: Sequential([
        Input((None, V)),
        LSTM(9, peephole=True, projection=4, layer_norm=True, zoneout_c=0.1, dtype="float64"),
        Dense(V, dtype="float64"),
    ]),
    "masks": lambda: Sequential([
        Input((None,)), Embedding(V, 5, mask_zero=True), LSTM(8, return_sequences=True),
        GRU(6, zero_output_for_mask=True), Dense(V),
    ]),
    "masked one-hot": lambda: Sequential([Input((None, V)), Masking(), SimpleRNN(8), Dense(V)]),
    "residual": residual,
    "nested": nested,
    "own class": own_class,
}  # fmt: skip


def made(name, seed=4):
    """A model whose weights are large enough that its likeliest tokens change."""
    set_random_seed(seed)
    model = MODELS[name]()
    if not model.built:
        model.build((None, None))
    rng = np.random.default_rng(seed)
    for variable in model.trainable_weights:
        variable.assign(rng.normal(size=variable.shape))
    return model


def inputs(model, ids):
    return np.eye(V)[ids][None] if len(model.inputs[0].shape) == 3 else np.array([ids])


def whole_text(model, seed, steps, draws, temperature=1.0, top_k=None, top_p=None):
    """The same, by predicting from all that there is, again for each token."""
    ids = list(seed)
    for k in range(steps):
        outputs = model.predict(inputs(model, ids), verbose=0)
        scores = outputs.reshape(-1, V)[-1:].astype(np.float64)
        if scores.min() >= 0 and abs(scores.sum() - 1) < 1e-4:
            scores = np.log(scores)
        ids.append(int(choose(scores, draws[k : k + 1], temperature, top_k, top_p)[0]))
    return ids[len(seed) :]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{"temperature": 0}, {}, {"temperature": 0.7, "top_k": 5, "top_p": 0.9}])
def test_it_writes_what_the_whole_text_predicts(name, options):
    model = made(name)
    draws = np.random.default_rng(5).random((40, 1))[:, 0]
    every = set()
    for seed in ([3, 0, 7, 7, 1], [5], [10, 2, 2]):
        expected = whole_text(model, seed, 40, draws, **options)
        found = model.generate(seed, 40, rng=5, **options)
        assert found.dtype == np.int64
        assert found.tolist() == expected
        every |= set(expected)
    assert len(every) > 1, "a model that repeats one token shows nothing"


@pytest.mark.parametrize("name", ["stacked", "masks", "one-hot"])
def test_seeds_of_different_lengths(name):
    model = made(name)
    seeds = [[4], [1, 2, 3, 0, 5, 6, 7], [9, 9, 8]]
    draws = np.random.default_rng(2).random((30, 3))
    found = model.generate(seeds, 30, rng=2)
    for row, (seed, ids) in enumerate(zip(seeds, found, strict=True)):
        assert ids.tolist() == whole_text(model, seed, 30, draws[:, row])
    array = np.array([[1, 2], [3, 4]])
    found = model.generate(array, 5, temperature=0)
    assert [ids.tolist() for ids in found] == [model.generate(ids, 5, temperature=0).tolist() for ids in array]


def test_stop_ends_a_row_and_no_other():
    model = made("stacked")
    seeds = [[4], [1, 2, 3], [5, 5]]
    free = model.generate(seeds, 40, rng=1)
    stop = [2, int(free[1][0])]
    ended = model.generate(seeds, 40, rng=1, stop=stop)
    assert ended[1].tolist() == [free[1][0]]
    for ids, all_ids in zip(ended, free, strict=True):
        last = next((k for k, token in enumerate(all_ids) if token in stop), 39)
        assert ids.tolist() == all_ids[: last + 1].tolist()
    assert len({len(ids) for ids in ended}) > 1
    assert model.generate([4], 40, rng=1, stop=int(model.generate([4], 1, rng=1)[0])).size == 1


def test_it_repeats():
    model = made("stacked")
    set_random_seed(8)
    first = model.generate([1], 50)
    second = model.generate([1], 50)
    assert first.tolist() != second.tolist()
    set_random_seed(8)
    assert model.generate([1], 50).tolist() == first.tolist()
    generator = np.random.default_rng(3)
    assert model.generate([1], 50, rng=3).tolist() == model.generate([1], 50, rng=generator).tolist()
    assert model.generate([1], 50, rng=generator).tolist() != model.generate([1], 50, rng=3).tolist()


def test_a_stateful_layer_keeps_its_state():
    set_random_seed(1)
    model = Sequential([Input((4,), batch_size=1), Embedding(V, 3), LSTM(5, stateful=True), Dense(V)])
    fresh = model.generate([1, 2], 10, temperature=0)
    model.predict(np.array([[1, 2, 3, 4]]), verbose=0)
    before = [state.copy() for state in model.layers[1].states]
    assert model.generate([1, 2], 10, temperature=0).tolist() == fresh.tolist()
    for state, old in zip(model.layers[1].states, before, strict=True):
        np.testing.assert_array_equal(state, old)


# What is chosen.


def shares(scores, count=40_000, **options):
    draws = np.random.default_rng(0).random(count)
    options = {"temperature": 1.0, "top_k": None, "top_p": None, **options}
    chosen = choose(np.tile(np.array(scores, float), (count, 1)), draws, **options)
    return np.bincount(chosen, minlength=len(scores)) / count


def test_the_tokens_come_as_often_as_they_should():
    p = np.array([0.1, 0.4, 0.2, 0.3])
    scores = np.log(p) + 7
    np.testing.assert_allclose(shares(scores), p, atol=0.01)
    np.testing.assert_allclose(shares(scores, temperature=0.5), p**2 / (p**2).sum(), atol=0.01)
    np.testing.assert_allclose(shares(scores, top_k=2), [0, 4 / 7, 0, 3 / 7], atol=0.01)
    np.testing.assert_allclose(shares(scores, top_k=1), [0, 1, 0, 0])
    np.testing.assert_allclose(shares(scores, top_k=99), p, atol=0.01)
    # 0.4 + 0.3 is not yet 0.75, so the third one is in, and the fourth is not.
    np.testing.assert_allclose(shares(scores, top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9], atol=0.01)
    np.testing.assert_allclose(shares(scores, top_p=0.4 - 1e-9), [0, 1, 0, 0])
    np.testing.assert_allclose(shares(scores, top_p=1.0), p, atol=0.01)
    # The nucleus of the two likeliest, whose shares are 4/7 and 3/7 then.
    np.testing.assert_allclose(shares(scores, top_k=2, top_p=0.55), [0, 1, 0, 0])


def test_extremes():
    assert choose(np.array([[1e4, -1e4, 0]]), np.array([0.999]), 1e-3, None, None) == [0]
    assert choose(np.array([[-np.inf, 0.0, -np.inf]]), np.array([0.0]), 1.0, None, None) == [1]
    assert choose(np.array([[0.0, 0.0, 0.0]]), np.array([0.9]), 1.0, 2, None) == [1], "the lower ids of equals"
    assert choose(np.array([[0.0, 1.0, 1.0]]), np.array([0.9]), 0, None, None) == [1]


# Errors.


def of_layers(*layers):
    return Sequential([Input((None,)), Embedding(V, 4), *layers, Dense(V)], name="writer")


def states_given():
    ids = Input((None,))
    x = Embedding(V, 4)(ids)
    _, h, c = LSTM(5, return_state=True)(x)
    return Model(ids, Dense(V)(LSTM(5, name="second")(x, initial_state=[h, c])))


def masked_call():
    ids, x = Input((None,)), Input((None,), dtype="bool")
    return Model([ids, x], Dense(V)(LSTM(5, name="second")(Embedding(V, 4)(ids), mask=x)))


def attending():
    ids = Input((None,))
    x = LSTM(4, return_sequences=True)(Embedding(V, 4)(ids))
    return Model(ids, Dense(V)(Attention(name="look")([x, x])))


def sliced():
    ids = Input((None,))
    return Model(ids, Dense(V)(LSTM(4, return_sequences=True)(Embedding(V, 4)(ids))[:, 0]))


def in_training():
    ids = Input((None,))
    return Model(ids, Dense(V)(LSTM(4)(Dropout(0.5, name="noisy")(Embedding(V, 4)(ids), training=True))))


CANNOT = [
    (lambda: of_layers(Bidirectional(LSTM(3), name="both")), "Bidirectional 'both': .* it has to see the whole"),
    (attending, "Attention 'look': .* it has to see the whole sequence"),
    (lambda: of_layers(Conv1D(3, 2, name="wide"), LSTM(3)), "Conv1D 'wide': .* it has to see the whole sequence"),
    (lambda: of_layers(RNN(GRUCell(3), name="cell")), "RNN 'cell': .* it has to see the whole sequence"),
    (lambda: of_layers(LSTM(3, return_sequences=True), GlobalAveragePooling1D(name="mean")),
     "GlobalAveragePooling1D 'mean': .* it has to see the whole sequence"),
    (lambda: of_layers(LSTM(3, go_backwards=True, name="back")), "LSTM 'back': .* go_backwards=True"),
    (lambda: of_layers(Sequential([Input((None, 4)), Conv1D(3, 2, name="deep")], name="in"), LSTM(3)),
     "Conv1D 'deep': .* it has to see the whole sequence"),
    (lambda: of_layers(Softmax(axis=1, name="time"), LSTM(3)), "Softmax 'time': .* its axis 1 is not that of the"),
    (states_given, "LSTM 'second': cannot generate a token at a time: it is called with an initial state, a mask"),
    (sliced, "Slice 'get_item.*': .* of a sequence it may take the last step only"),
    (in_training, "Dropout 'noisy': .* it is called with training=True"),
    (masked_call, "expected a model of one input and one output to generate with, got 2 and 1"),
    (lambda: Sequential([Input((40, 1)), LSTM(3), Dense(V)], name="writer"),
     r"Sequential 'writer': expected inputs \(batch, steps\) of ids for an Embedding, or one-hot inputs "
     rf"\(batch, steps, {V}\), as wide as the outputs, to generate with, got \(None, 40, 1\)"),
    (lambda: Sequential([Input((None,)), Embedding(V - 1, 4), LSTM(3), Dense(V)], name="writer"),
     f"Sequential 'writer': expected an Embedding of at least {V} ids, one for each output, to generate with, got 10"),
    (lambda: Sequential([Input((None,)), Embedding(V, 4), LSTM(3), Dense(V, activation="sigmoid", name="top")]),
     r"Dense 'top': expected activation 'softmax', or logits \('linear', 'log_softmax'\), to generate with, got 'sigm"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "message"), CANNOT)
def test_models_that_cannot(model, message):
    with pytest.raises(ValueError, match=f"^{message}|^\\w+ '\\w+': {message}"):
        model().generate([1, 2], 3)


BAD = [
    (([1], 0), {}, ValueError, "expected steps to be a positive integer, got 0"),
    (([1], 2), {"temperature": -1}, ValueError, "expected temperature to be a finite number from 0 on, got -1"),
    (([1], 2), {"temperature": np.inf}, ValueError, "expected temperature to be a finite number from 0 on, got inf"),
    (([1], 2), {"top_k": 0}, ValueError, "expected top_k to be a positive integer, got 0"),
    (([1], 2), {"top_p": 0}, ValueError, "expected top_p to be a number above 0, up to 1, got 0"),
    (([1], 2), {"top_p": 1.5}, ValueError, "expected top_p to be a number above 0, up to 1, got 1.5"),
    (([1], 2), {"rng": "x"}, TypeError, "expected rng to be None, an integer from 0 on or a numpy.random.Generator, g"),
    (([1], 2), {"stop": V}, ValueError, f"expected stop to hold ids in 0 ... 10, got {V}"),
    (([1], 2), {"stop": "."}, TypeError, "expected stop to hold integer ids, got text: turn it into ids first"),
    (([], 2), {}, ValueError, "expected seed to hold at least one id in a row, got (0,)"),
    (([[1], []], 2), {}, ValueError, "expected seed[1] to hold at least one id in a row, got (0,)"),
    (([[1], [[2]]], 2), {}, ValueError, "expected seed[1] to hold at least one id in a row, got (1, 1)"),
    (([1, V], 2), {}, ValueError, f"expected seed to hold ids in 0 ... 10, got {V}"),
    (([[1], [-1]], 2), {}, ValueError, "expected seed[1] to hold ids in 0 ... 10, got -1"),
    (([1.5], 2), {}, TypeError, "expected seed to hold integer ids, got float64"),
    (("abc", 2), {}, TypeError, "expected seed to be a list or array of integer ids, or of such, got text: turn it"),
    ((["a", "b"], 2), {}, TypeError, "expected seed to hold integer ids, got text: turn it into ids first"),
    ((7, 2), {}, TypeError, "expected seed to be a list or array of integer ids, or of such, got 7"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_bad_calls(arguments, options, error, message):
    with pytest.raises(error) as caught:
        of_layers(LSTM(3)).generate(*arguments, **options)
    assert str(caught.value).startswith(f"Sequential 'writer': {message}")


def test_a_model_that_is_not_built_yet():
    model = Sequential([Embedding(V, 4), LSTM(3), Dense(V)])
    assert model.generate([1], 2).shape == (2,)
    assert model.built
    with pytest.raises(ValueError, match=r"^LSTM 'first': expected inputs \(batch, steps, features\)"):
        Sequential([LSTM(3, name="first"), Dense(V)]).generate([1], 2)


def test_weights_that_ran_off():
    model = of_layers(LSTM(3))
    model.build((None, None))
    model.layers[-1].set_weights([np.full((3, V), np.nan), np.zeros(V)])
    with pytest.raises(ValueError, match="expected finite outputs to generate from, got NaN or infinity"):
        model.generate([1], 2)
