"""Models and weights in files: what comes back, what is refused, and what a crash leaves."""

import io
import json
import os
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from fusedlstm import layers, losses, metrics, models, optimizers, saving
from fusedlstm.saving import files, npz

X = np.random.default_rng(4).normal(size=(8, 5, 3)).astype("float32")


def small(name=None, units=4):
    return models.Sequential([layers.Input((5, 3)), layers.LSTM(units, name="encoder"), layers.Dense(1)], name=name)


def graph():
    x = layers.Input((5, 3), name="x")
    y, h, c = layers.LSTM(4, peephole=True, return_sequences=True, return_state=True)(x)
    z = layers.RNN([layers.LSTMCell(3, layer_norm=True), layers.GRUCell(4)], return_sequences=True)(y)
    z = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="ave")(z, initial_state=[h, c])
    z = layers.BatchNormalization()(z) * 2 + y[:, :1]
    shared = small("inner", 2)
    return models.Model({"x": x}, {"all": z, "one": shared(x), "two": shared(x * 0.5)})


class Twice(layers.Layer):
    """A user's own, with layers in lists and dicts."""

    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.parts = [layers.Dense(units), {"b": layers.Dense(units)}]

    def call(self, inputs):
        return self.parts[0](inputs) + self.parts[1]["b"](inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Own(models.Model):
    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.lstm = layers.LSTM(units)
        self.dense = layers.Dense(1)

    def call(self, inputs):
        return self.dense(self.lstm(inputs))

    def get_config(self):
        return {"units": self.units, "name": self.name}


def own():
    model = Own()
    model.predict(X, verbose=0)
    return model


MODELS = {
    "sequential": small,
    "graph": graph,
    "own layer": lambda: models.Sequential([layers.Input((5, 3)), Twice(3), layers.GRU(2)]),
    "own model": own,
    "float64": lambda: models.Sequential([layers.Input((5, 3)), layers.SimpleRNN(3, dtype="float64")]),
}
OBJECTS = {"Twice": Twice, "Own": Own}


def outputs(model):
    found = model.predict({"x": X} if "x" in model.input_names else X, verbose=0)
    return [found[key] for key in sorted(found)] if isinstance(found, dict) else [found]


def assert_equal(first, second):
    for a, b in zip(outputs(first), outputs(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back(tmp_path, name):
    model = MODELS[name]()
    model.save(tmp_path / "m.fusedlstm")
    again = models.load_model(tmp_path / "m.fusedlstm", custom_objects=OBJECTS)
    assert type(again) is type(model)
    assert_equal(model, again)
    assert os.listdir(tmp_path) == ["m.fusedlstm"]


@pytest.mark.parametrize("ending", [".fusedlstm", ".keras"])
def test_training_goes_on_to_the_bit(tmp_path, ending):
    if ending == ".keras":
        pytest.importorskip("h5py", reason="files of Keras need h5py")
    model = small()
    model.compile(optimizers.Adam(0.01, amsgrad=True), "mae", metrics=["mse"])
    y = X[:, 0, :1]
    model.fit(X, y, epochs=3, shuffle=False, verbose=0)
    model.save(tmp_path / f"m{ending}")
    again = saving.load_model(tmp_path / f"m{ending}")
    assert again.optimizer.iterations == 3
    results = [m.fit(X, y, epochs=2, shuffle=False, verbose=0).history for m in (model, again)]
    if ending == ".fusedlstm":
        assert results[0] == results[1]
        assert_equal(model, again)
    else:
        assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-6)
    assert saving.load_model(tmp_path / f"m{ending}", compile=False).optimizer is None


@pytest.mark.parametrize("ending", [".weights.npz", ".weights.h5"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_come_back(tmp_path, name, ending):
    if ending == ".weights.h5":
        pytest.importorskip("h5py", reason="files of Keras need h5py")
    model, other = MODELS[name](), MODELS[name]()
    model.save_weights(tmp_path / f"w{ending}")
    other.load_weights(str(tmp_path / f"w{ending}"))
    assert_equal(model, other)


def test_weights_from_a_models_file_and_the_optimizers_state(tmp_path):
    model, other = small(), small()
    for each in (model, other):
        each.compile(optimizers.SGD(0.1, momentum=0.9), "mse")
        each.fit(X, X[:, 0, :1], verbose=0)
    model.optimizer.learning_rate = 0.5
    model.save(tmp_path / "m.fusedlstm")
    other.load_weights(tmp_path / "m.fusedlstm")
    assert_equal(model, other)
    assert other.optimizer.learning_rate == 0.5
    for a, b in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    fresh = small()  # has not trained: its learning rate stays
    fresh.compile(optimizers.SGD(0.2), "mse")
    fresh.load_weights(tmp_path / "m.fusedlstm")
    assert fresh.optimizer.learning_rate == 0.2


def test_plain_npz(tmp_path):
    """The weights are numbers that NumPy alone can read, under Keras's paths."""
    model = small()
    model.save_weights(tmp_path / "m.weights.npz")
    with np.load(tmp_path / "m.weights.npz", allow_pickle=False) as arrays:
        assert list(arrays) == [
            "layers/lstm/cell/vars/0", "layers/lstm/cell/vars/1", "layers/lstm/cell/vars/2",
            "layers/dense/vars/0", "layers/dense/vars/1",
        ]  # fmt: skip
        for name, weight in zip(arrays, model.get_weights(), strict=True):
            np.testing.assert_array_equal(arrays[name], weight)


# What does not fit.


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "s.weights.npz"
    small().save_weights(path)
    return path


def rewrite(path, change):
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    with open(path, "wb") as file:
        npz.write(file, arrays)


KERNEL = "layers/lstm/cell/vars/0"
MISFITS = {
    "missing": (
        lambda a: a.pop(KERNEL),
        rf"s.weights.npz' does not fit Sequential 'm': LSTM 'encoder', kernel: expected shape \(3, 16\) at '{KERNEL}', "
        "the file has none",
    ),
    "shape": (
        lambda a: a.update({KERNEL: np.zeros((4, 16))}),
        r"LSTM 'encoder', kernel: expected shape \(3, 16\) at 'layers/lstm/cell/vars/0', got \(4, 16\)",
    ),
    "more": (
        lambda a: a.update({"layers/gru/cell/vars/0": np.zeros(2)}),
        "the model lacks what the file has at 'layers/gru/cell/vars/0'",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_changes_nothing(saved, name):
    change, message = MISFITS[name]
    rewrite(saved, change)
    model = small("m")
    before = model.get_weights()
    with pytest.raises(saving.FileError, match=message):
        model.load_weights(saved)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.warns(UserWarning, match="skipped: "):
        model.load_weights(saved, skip_mismatch=True)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [name == "more", True, False, True, False]  # the biases are equal


def huge_header(path):
    """An array that claims 8 GB and has none."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 30,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{KERNEL}.npy", buffer.getvalue())


def test_claims_of_size_are_checked_before_memory_is_taken(tmp_path):
    path = tmp_path / "bomb.npz"
    huge_header(path)
    with open(path, "rb") as file, pytest.raises(saving.FileError, match=r"claims 8589934592 bytes, the file has"):
        npz.Reader("file", file).read(KERNEL)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{KERNEL}.npy", bytes(1 << 26))
    with open(path, "rb") as file, pytest.raises(saving.FileError, match="claims to grow"):
        npz.Reader("file", file).read(KERNEL)


def test_pickles_are_never_read(tmp_path):
    path = tmp_path / "p.weights.npz"
    np.savez(path, **{KERNEL: np.array([{"a": 1}], dtype=object)})
    with pytest.raises(saving.FileError, match="expected numbers"):
        small().load_weights(path)


@pytest.mark.parametrize("ending", [".fusedlstm", ".weights.npz", ".keras", ".weights.h5"])
def test_damaged_files_raise_one_kind_of_error(tmp_path, ending):
    """Bytes changed, cut off, or put in, anywhere: FileError or the right numbers, and never anything else."""
    if ending in (".keras", ".weights.h5"):
        pytest.importorskip("h5py", reason="files of Keras need h5py")
    model, path = small("m"), tmp_path / f"m{ending}"
    (model.save_weights if "weights" in ending else model.save)(path)
    good = path.read_bytes()
    rng = np.random.default_rng(9)
    refused = 0
    for k in range(150):
        data = bytearray(good)
        at = int(rng.integers(len(data)))
        if k % 3 == 0:
            data[at] ^= int(rng.integers(1, 256))
        elif k % 3 == 1:
            del data[at:]
        else:
            data[at : at + 8] = rng.bytes(8)
        path.write_bytes(data)
        try:
            if "weights" in ending:
                model.load_weights(path)
            else:
                models.load_model(path)
        except saving.FileError:
            refused += 1
    assert refused > 50


def config_of(path, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    members["config.json"] = json.dumps(change(config)).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


CONFIGS = {
    "a name of Python": lambda c: {**c, "class_name": "os.system"},
    "a function": lambda c: {**c, "class_name": "load_model"},
    "a layer": lambda c: {"class_name": "Dense", "config": {"units": 2}, "input_shapes": [[None, 5]]},
    "a list": lambda c: [c],
    "nothing": lambda c: {},
    "a huge layer": lambda c: {
        **c,
        "config": {**c["config"], "layers": [{"class_name": "Dense", "config": {"units": -5}}]},
    },
    "deep": lambda c: {**c, "config": {"name": "m", "layers": [c] * 3}},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_strange_configs_are_refused(tmp_path, name):
    path = tmp_path / "m.fusedlstm"
    small("m").save(path)
    config_of(path, CONFIGS[name])
    with pytest.raises(saving.FileError):
        models.load_model(path)


def test_own_classes_have_to_be_passed(tmp_path):
    MODELS["own layer"]().save(tmp_path / "m.fusedlstm")
    with pytest.raises(saving.FileError, match=r"unknown layer class 'Twice'.*custom_objects=\{'Twice': ...\}"):
        models.load_model(tmp_path / "m.fusedlstm")


def test_compile_arguments_that_are_no_names_warn(tmp_path):
    model = small()
    model.compile("adam", "mse", metrics=[lambda a, b: (a - b)[:, 0]])
    with pytest.warns(UserWarning, match="saved without what compile was given: expected names or objects"):
        model.save(tmp_path / "m.fusedlstm")
    assert models.load_model(tmp_path / "m.fusedlstm").optimizer is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, p: m.save(p / "m.h5"), ValueError, "'m': expected filepath to end in .fusedlstm or .keras, got"),
        (lambda m, p: m.save(3), TypeError, "'m': expected filepath to be a path, got 3"),
        (lambda m, p: m.save(p / "m.keras", zipped=False), ValueError, "expected zipped to be True or None, got False"),
        (lambda m, p: m.save_weights(p / "m.npz"), ValueError, "expected filepath to end in .weights.npz or"),
        (lambda m, p: m.load_weights(p / "none.weights.npz"), FileNotFoundError, "none.weights.npz"),
        (lambda m, p: m.save(p / "no" / "m.fusedlstm"), FileNotFoundError, "no"),
        (lambda m, p: models.load_model(p / "m.h5"), ValueError, "load_model: expected filepath to end in"),
        (lambda m, p: models.load_model(p / "x.fusedlstm"), FileNotFoundError, "x.fusedlstm"),
        (lambda m, p: models.Sequential([layers.Dense(2)]).save(p / "u.fusedlstm"), ValueError, "not built yet"),
    ],
)
def test_refused(tmp_path, call, error, message):
    with pytest.raises(error, match=message):
        call(small("m"), tmp_path)
    assert os.listdir(tmp_path) == []


# The file on the disk.


def test_overwrite(tmp_path):
    path = tmp_path / "m.weights.npz"
    model = small("m")
    model.save_weights(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="exists already: pass overwrite=True"):
        small().save_weights(path, overwrite=False)
    assert path.read_bytes() == before
    link = tmp_path / "link.weights.npz"
    link.symlink_to(path)
    small().save_weights(link)
    assert link.is_symlink()
    assert path.read_bytes() != before


def test_the_mode_is_the_umasks(tmp_path):
    before = os.umask(0o027)
    try:
        small().save(tmp_path / "m.fusedlstm")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m.fusedlstm").stat().st_mode) == 0o640


def test_whoever_has_the_old_file_keeps_it(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"old" * 1000)
    mapped = np.memmap(path, np.uint8, "r")
    with files.written(path) as file:
        file.write(b"new")
    assert bytes(mapped) == b"old" * 1000
    assert path.read_bytes() == b"new"


def test_an_error_amid_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(b"old")

    def fail():
        with files.written(path) as file:
            file.write(b"new")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.bin"]


WRITER = """
import sys
import numpy as np
from fusedlstm import layers, models
from fusedlstm.saving import files

path = sys.argv[1]
model = models.Sequential([layers.Input((5, 3)), layers.LSTM(64, name="encoder"), layers.Dense(1)])
k = 0
while True:
    k += 1
    model.set_weights([np.full(w.shape, k, w.dtype) for w in model.get_weights()])
    model.save_weights(path)
    if k == 1:
        print("begun", flush=True)
"""


def test_killed_at_any_moment_there_is_a_whole_file(tmp_path):
    path = tmp_path / "m.weights.npz"
    rng = np.random.default_rng(2)
    reader = small(units=64)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"begun\n"
            try:
                process.wait(float(rng.uniform(0, 0.15)))
            except subprocess.TimeoutExpired:
                process.kill()
        reader.load_weights(path)
        assert (
            len({float(w.flat[0]) for w in reader.get_weights()} | {float(w.max()) for w in reader.get_weights()}) == 1
        )


# Functions as losses and metrics.


def rmse(y_true, y_pred):
    """Has the name of a metric of the package."""
    return np.abs(y_true - y_pred).max(axis=-1)


def asymmetric(y_true, y_pred):
    error = y_pred - y_true
    factor = np.where(error > 0, 1.0, 3.0)
    return (factor * error**2).mean(axis=-1), 2 * factor * error / error.shape[-1]


FUNCTIONS = {"rmse": rmse, "asymmetric": asymmetric}
COMPILED = {
    "metric": ("mse", [rmse, "mae"]),
    "loss": (asymmetric, [rmse]),
    "objects": (
        losses.FunctionLoss(asymmetric, "sum"),
        [metrics.MeanMetricWrapper(rmse, name="largest"), metrics.LossMetric(asymmetric)],
    ),
    "of the package": (losses.mean_squared_error, [metrics.binary_accuracy, losses.mean_absolute_error]),
    "in a wrapper": ("mse", [metrics.MeanMetricWrapper(metrics.categorical_accuracy)]),
}


def compile_configs(*paths):
    found = []
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            found.append(json.loads(archive.read("config.json"))["compile_config"])
    return found


def trained(loss, chosen):
    model = small()
    model.compile(optimizers.Adam(0.01), loss, metrics=chosen)
    model.fit(X, X[:, 0, :1], epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("ending", ["fusedlstm", "keras"])
@pytest.mark.parametrize("name", COMPILED)
def test_functions_come_back(tmp_path, name, ending):
    if ending == "keras":
        pytest.importorskip("h5py", reason="files of Keras need h5py")
    model, path = trained(*COMPILED[name]), tmp_path / f"m.{ending}"
    model.save(path)
    again = models.load_model(path, custom_objects=FUNCTIONS)
    judged = [m.evaluate(X, X[:, 0, :1], verbose=0, return_dict=True) for m in (model, again)]
    assert judged[0] == judged[1]
    again.save(tmp_path / f"again.{ending}")
    first, second = compile_configs(path, tmp_path / f"again.{ending}")
    assert second["metrics"] == first["metrics"]
    if not isinstance(first["loss"], str):
        assert second["loss"] == first["loss"]
    for each in (model, again):
        each.fit(X, X[:, 0, :1], epochs=2, verbose=0, shuffle=False)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ending", ["fusedlstm", "keras"])
@pytest.mark.parametrize(("name", "missing"), [("metric", "rmse"), ("loss", "asymmetric"), ("objects", "asymmetric")])
def test_functions_have_to_be_passed(tmp_path, name, missing, ending):
    if ending == "keras":
        pytest.importorskip("h5py", reason="files of Keras need h5py")
    model, path = trained(*COMPILED[name]), tmp_path / f"m.{ending}"
    model.save(path)
    given = {key: value for key, value in FUNCTIONS.items() if key != missing}
    message = rf"compile=False leaves that out\): unknown function '{missing}'.*custom_objects=\{{'{missing}': ...\}}"
    for objects in (None, given):
        with pytest.raises(saving.FileError, match=message if objects else "unknown function"):
            models.load_model(path, objects)
    again = models.load_model(path, compile=False)
    assert not again.compiled
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Named:
    """Can be called, and has no name."""

    def __call__(self, y_true, y_pred):
        return asymmetric(y_true, y_pred)


@pytest.mark.parametrize("loss", [Named(), losses.FunctionLoss(Named()), lambda y, p: asymmetric(y, p)])
def test_functions_without_a_name_warn(tmp_path, loss):
    model = trained(loss, ["mae"])
    with pytest.warns(UserWarning, match="saved without what compile was given"):
        model.save(tmp_path / "m.fusedlstm")
    assert models.load_model(tmp_path / "m.fusedlstm").optimizer is None


class Odd(metrics.Mean):
    """With what is not plain in its config."""

    def get_config(self):
        return {**super().get_config(), "what": object()}


def test_configs_that_are_not_plain_warn(tmp_path):
    model = trained("mse", None)
    model.compile("sgd", "mse", metrics=[Odd()])
    with pytest.warns(UserWarning, match="saved without what compile was given: expected plain values in a config"):
        model.save(tmp_path / "m.fusedlstm")
    assert models.load_model(tmp_path / "m.fusedlstm").optimizer is None


def test_functions_in_the_form_that_keras_writes(tmp_path):
    pytest.importorskip("h5py", reason="files of Keras need h5py")
    trained(asymmetric, [rmse]).save(tmp_path / "m.keras")
    (compiled,) = compile_configs(tmp_path / "m.keras")
    form = {"module": __name__, "class_name": "function"}
    assert compiled["loss"] == {**form, "config": "asymmetric", "registered_name": "function"}
    assert compiled["metrics"] == [{**form, "config": "rmse", "registered_name": "function"}]
