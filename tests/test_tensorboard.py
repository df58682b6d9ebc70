"""TensorBoard's event files, read back record by record."""

import struct
import sys
import warnings

import numpy as np
import pytest

from fusedlstm import callbacks, layers, metrics, models, optimizers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="event files need tensorboardX")

X = np.random.default_rng(8).normal(size=(24, 4, 2)).astype("float32")


def trained(log_dir, epochs=3, **arguments):
    model = models.Sequential([layers.Input((4, 2)), layers.LSTM(3, name="lstm"), layers.Dense(1, name="d")])
    model.compile(optimizers.SGD(0.1), "mse", metrics=["mae"])
    called = callbacks.TensorBoard(log_dir, **arguments)
    model.fit(X, X[:, 0, :1], epochs=epochs, batch_size=8, verbose=0, validation_split=0.25, callbacks=called)
    return model, model.history.history


def events(folder):
    """(tag, step, value) of every summary: a TFRecord is a length, its check, the data and theirs."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            found += [(value.tag, event.step, value) for value in event.summary.value]
    return found


def scalars(folder, tag):
    return {step: value.simple_value for name, step, value in events(folder) if name == tag}


def test_epochs(tmp_path):
    _, history = trained(tmp_path)
    for name in ("loss", "mae"):
        assert scalars(tmp_path / "train", f"epoch_{name}") == pytest.approx(dict(enumerate(history[name])))
        assert scalars(tmp_path / "validation", f"epoch_{name}") == pytest.approx(
            dict(enumerate(history[f"val_{name}"]))
        )
    assert scalars(tmp_path / "train", "epoch_learning_rate") == pytest.approx({0: 0.1, 1: 0.1, 2: 0.1})
    # The optimizer has made 3 steps in an epoch: 18 rows in batches of 8.
    assert scalars(tmp_path / "validation", "evaluation_loss_vs_iterations") == pytest.approx(
        {3 * (k + 1): loss for k, loss in enumerate(history["val_loss"])}
    )
    assert not any(name.startswith("batch_") for name, _, _ in events(tmp_path / "train"))


def test_batches(tmp_path):
    trained(tmp_path / "a", update_freq="batch", write_steps_per_second=True)
    assert list(scalars(tmp_path / "a" / "train", "batch_loss")) == list(range(9))
    assert min(scalars(tmp_path / "a" / "train", "epoch_steps_per_second").values()) > 0
    trained(tmp_path / "b", update_freq=4)
    assert list(scalars(tmp_path / "b" / "train", "batch_mae")) == [3, 7]


def test_histograms_and_images(tmp_path):
    model, _ = trained(tmp_path, histogram_freq=2, write_images=True)
    found = {(name, step): value for name, step, value in events(tmp_path / "train")}
    for layer in model.layers:
        for variable in layer.weights:
            for epoch in (0, 1, 2):
                key = (f"{layer.name}/{variable.name}/histogram", epoch)
                assert (key in found) == (epoch != 1)
    value = found["lstm/kernel/histogram", 2].histo
    kernel = model.layers[0].weights[0].value
    assert value.num == kernel.size
    assert (value.min, value.max, value.sum) == pytest.approx((kernel.min(), kernel.max(), kernel.sum()), rel=1e-5)
    image = found["lstm/kernel/image", 2].image
    assert (image.height, image.width) == kernel.shape


def test_evaluate_alone(tmp_path):
    model, _ = trained(tmp_path / "a", epochs=1)
    model.evaluate(X, X[:, 0, :1], verbose=0, callbacks=[callbacks.TensorBoard(tmp_path / "b")])
    assert list(scalars(tmp_path / "b" / "validation", "evaluation_mae_vs_iterations")) == [3]


def test_a_metric_with_a_value_for_each_class(tmp_path):
    model = models.Sequential([layers.Input((4, 2)), layers.LSTM(3), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[metrics.F1Score()])
    called = callbacks.TensorBoard(tmp_path, update_freq="batch")
    y = np.eye(3)[np.arange(24) % 3]
    history = model.fit(X, y, epochs=2, verbose=0, validation_split=0.25, callbacks=called).history
    for k in range(3):
        for folder, name in (("train", "f1_score"), ("validation", "val_f1_score")):
            expected = {epoch: values[k] for epoch, values in enumerate(history[name])}
            assert scalars(tmp_path / folder, f"epoch_f1_score_{k}") == pytest.approx(expected)
        assert list(scalars(tmp_path / "train", f"batch_f1_score_{k}")) == [0, 1]
        assert list(scalars(tmp_path / "validation", f"evaluation_f1_score_{k}_vs_iterations")) == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile_batch": 2}, "expected profile_batch to be 0, there is no such view here, got 2"),
        ({"embeddings_freq": 1}, "expected embeddings_freq to be 0"),
        ({"embeddings_metadata": "a"}, "expected embeddings_metadata to be None"),
        ({"update_freq": 0}, "expected update_freq 'epoch', 'batch' or a number, got 0"),
        ({"histogram_freq": -1}, "expected histogram_freq to be an integer >= 0, got -1"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=f"TensorBoard: {message}"):
        callbacks.TensorBoard("logs", **arguments)


def test_without_tensorboardx(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "fusedlstm\[tensorboard\]"'):
        callbacks.TensorBoard("logs")
