"""Initial values of weights: objects called as ``initializer(shape, dtype)``.

As in Keras, an instance gives the same values at every call with the same shape: its seed is fixed when it is made,
drawn from `fusedlstm.random` if none was passed. Values are drawn in float64 and rounded, so that a float32 and a
float64 model start from the same weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fusedlstm.random import check_seed, next_seed
from fusedlstm.utils.custom_objects import class_name, custom_object_scope, find_custom

Array = NDArray[Any]
Shape = int | Sequence[int]


def _check_shape(owner: str, shape: Shape) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
            raise ValueError(f"{owner}: expected a shape of integers >= 0, got {shape!r}")
    return tuple(int(size) for size in sizes)


def _check_number(owner: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner}: expected {name} to be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{owner}: expected {name} to be finite, got {value!r}")
    return float(value)


class Initializer(ABC):
    """Base class: implement ``__call__(shape, dtype)``, and `get_config` if there are arguments."""

    @abstractmethod
    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        """The initial value.

        Parameters
        ----------
        shape : tuple of int
        dtype : dtype

        Returns
        -------
        array of this shape and dtype
        """

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal initializer."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The initializer that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


class Constant(Initializer):
    """Every value is `value`, a number or something that broadcasts to the shape."""

    def __init__(self, value: ArrayLike = 0.0) -> None:
        if np.asarray(value).dtype.kind not in "biuf":
            raise TypeError(f"Constant: expected value to be a number, got {value!r}")
        self.value = value

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        sizes, value = _check_shape("Constant", shape), np.asarray(self.value)
        try:
            return np.broadcast_to(value, sizes).astype(dtype)
        except ValueError:
            raise ValueError(f"Constant: value of shape {value.shape} does not fit a weight of shape {sizes}") from None

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value.tolist() if isinstance(self.value, np.ndarray | np.generic) else self.value}


class Zeros(Initializer):
    """Every value is 0."""

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        return np.zeros(_check_shape("Zeros", shape), dtype)


class Ones(Initializer):
    """Every value is 1."""

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        return np.ones(_check_shape("Ones", shape), dtype)


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _check_number("Identity", "gain", gain)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        sizes = _check_shape("Identity", shape)
        if len(sizes) != 2:
            raise ValueError(f"Identity: expected a shape of 2 axes, got {sizes}")
        return np.asarray(self.gain * np.eye(*sizes), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base class of those that draw: holds the seed, which every call starts from anew."""

    def __init__(self, seed: int | None = None) -> None:
        self._init_seed = None if seed is None else check_seed(type(self).__name__, seed)
        self.seed = next_seed() if self._init_seed is None else self._init_seed

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._init_seed}


class RandomNormal(RandomInitializer):
    """Normal, of this mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = _check_number(type(self).__name__, "mean", mean)
        self.stddev = _check_number(type(self).__name__, "stddev", stddev)
        super().__init__(seed)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        sizes = _check_shape(type(self).__name__, shape)
        return (self.mean + self.stddev * self._generator().standard_normal(sizes)).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, **super().get_config()}


class TruncatedNormal(RandomNormal):
    """Normal, drawn again where farther than two `stddev` from the mean (`stddev` is that before truncation)."""

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        sizes = _check_shape(type(self).__name__, shape)
        return (self.mean + self.stddev * _truncated(self._generator(), sizes)).astype(dtype)


def _truncated(generator: np.random.Generator, sizes: tuple[int, ...]) -> Array:
    values = generator.standard_normal(sizes)
    while np.any(outside := np.abs(values) > 2):
        values[outside] = generator.standard_normal(np.count_nonzero(outside))
    return values


class RandomUniform(RandomInitializer):
    """Uniform from `minval` (inclusive) to `maxval` (exclusive, before rounding)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval = _check_number("RandomUniform", "minval", minval)
        self.maxval = _check_number("RandomUniform", "maxval", maxval)
        if self.maxval < self.minval:
            raise ValueError(f"RandomUniform: expected minval <= maxval, got {minval} and {maxval}")
        super().__init__(seed)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        sizes = _check_shape("RandomUniform", shape)
        return self._generator().uniform(self.minval, self.maxval, sizes).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, **super().get_config()}


# Standard deviation of a standard normal cut at two: sqrt(1 - 4 phi(2) / erf(sqrt(2))).
_TRUNCATED_STDDEV = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


class VarianceScaling(RandomInitializer):
    """Zero mean and variance `scale` / fan, the fan taken from the weight's shape (He et al. 2015).

    Parameters
    ----------
    scale : float
        Positive.
    mode : {"fan_in", "fan_out", "fan_avg"}
        Which number of units divides: the inputs of a unit, its outputs, their average.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        "normal" is the truncated one.
    seed : int, optional
    input_axes, output_axes : sequence of int, optional
        Both or neither: the axes whose sizes make the fans. By default the last axis is the outputs, the one ahead
        of it the inputs, and any further ones a convolution's window.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        owner = type(self).__name__
        self.scale = _check_number(owner, "scale", scale)
        if self.scale <= 0:
            raise ValueError(f"{owner}: expected scale > 0, got {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"{owner}: expected mode 'fan_in', 'fan_out' or 'fan_avg', got {mode!r}")
        if distribution not in ("normal", "truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f"{owner}: expected distribution 'truncated_normal', 'untruncated_normal' or 'uniform', "
                f"got {distribution!r}"
            )
        if (input_axes is None) != (output_axes is None):
            raise ValueError(f"{owner}: expected both input_axes and output_axes, or neither")
        self.mode = mode
        self.distribution = "truncated_normal" if distribution == "normal" else distribution
        self.input_axes, self.output_axes = input_axes, output_axes
        super().__init__(seed)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        sizes = _check_shape(type(self).__name__, shape)
        fan_in, fan_out = self._fans(sizes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev, generator = math.sqrt(self.scale / max(1.0, fan)), self._generator()
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return generator.uniform(-limit, limit, sizes).astype(dtype)
        if self.distribution == "untruncated_normal":
            return (stddev * generator.standard_normal(sizes)).astype(dtype)
        return (stddev / _TRUNCATED_STDDEV * _truncated(generator, sizes)).astype(dtype)

    def _fans(self, sizes: tuple[int, ...]) -> tuple[int, int]:
        if self.input_axes is not None and self.output_axes is not None:
            return math.prod(sizes[a] for a in self.input_axes), math.prod(sizes[a] for a in self.output_axes)
        if len(sizes) < 2:
            return (sizes[0], sizes[0]) if sizes else (1, 1)
        window = math.prod(sizes[:-2])
        return window * sizes[-2], window * sizes[-1]

    def get_config(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            **super().get_config(),
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _NamedScaling(VarianceScaling):
    """A VarianceScaling whose scale, mode and distribution have a name of their own."""

    _scaling: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._scaling, seed=seed, input_axes=input_axes, output_axes=output_axes)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {name: config[name] for name in ("seed", "input_axes", "output_axes")}


class GlorotUniform(_NamedScaling):
    """Uniform within +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""

    _scaling = (1.0, "fan_avg", "uniform")


class GlorotNormal(_NamedScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

    _scaling = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_NamedScaling):
    """Uniform within +-sqrt(6 / fan_in) (He et al. 2015)."""

    _scaling = (2.0, "fan_in", "uniform")


class HeNormal(_NamedScaling):
    """Truncated normal of variance 2 / fan_in (He et al. 2015)."""

    _scaling = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_NamedScaling):
    """Uniform within +-sqrt(3 / fan_in) (LeCun et al. 1998)."""

    _scaling = (1.0, "fan_in", "uniform")


class LecunNormal(_NamedScaling):
    """Truncated normal of variance 1 / fan_in (LeCun et al. 1998)."""

    _scaling = (1.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """`gain` times a random matrix of orthonormal rows or columns, whichever are fewer (Saxe et al. 2014).

    A shape of more than two axes is that of the matrix whose rows are all axes but the last.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = _check_number("Orthogonal", "gain", gain)
        super().__init__(seed)

    def __call__(self, shape: Shape, dtype: DTypeLike = "float32") -> Array:
        sizes = _check_shape("Orthogonal", shape)
        if len(sizes) < 2:
            raise ValueError(f"Orthogonal: expected a shape of at least 2 axes, got {sizes}")
        rows, columns = math.prod(sizes[:-1]), sizes[-1]
        q, r = np.linalg.qr(self._generator().standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)  # else the signs would not be uniform
        return np.ascontiguousarray(self.gain * (q.T if rows < columns else q), dtype).reshape(sizes)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, **super().get_config()}


_BY_NAME: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "identity": Identity,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "random_uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
}
_ALIASES: dict[str, type[Initializer]] = {
    **{cls.__name__: cls for cls in _BY_NAME.values()},
    "zero": Zeros,
    "one": Ones,
    "normal": RandomNormal,
    "uniform": RandomUniform,
    "IdentityInitializer": Identity,
    "OrthogonalInitializer": Orthogonal,
}


@overload
def get(identifier: None) -> None: ...
@overload
def get(identifier: object) -> Callable[..., Array]: ...
def get(identifier: Any) -> Callable[..., Array] | None:
    """The initializer that `identifier` names.

    Parameters
    ----------
    identifier : str, Initializer, type, callable, array, dict or None
        A name ("glorot_uniform" or "GlorotUniform"), an initializer, its class, any function of (shape, dtype), the
        values themselves, or what `serialize` gave. None gives None.

    Returns
    -------
    callable
        To be called as ``initializer(shape, dtype)``.

    Raises
    ------
    ValueError
        If there is none of this name.
    TypeError
        If `identifier` is nothing of the above.
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return _class(identifier.get("class_name")).from_config(dict(identifier.get("config") or {}))
    if isinstance(identifier, str):
        return _class(identifier)()
    if isinstance(identifier, np.ndarray | np.generic):
        return Constant(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier):
        return identifier  # type: ignore[no-any-return]
    raise TypeError(f"initializer: expected a name, an Initializer or a function, got {identifier!r}")


def _class(name: Any) -> type[Initializer]:
    cls = find_custom(name, Initializer) or _BY_NAME.get(name) or _ALIASES.get(name)
    if cls is None:
        raise ValueError(f"unknown initializer {name!r}: expected one of {', '.join(map(repr, sorted(_BY_NAME)))}")
    return cls


def serialize(initializer: Initializer) -> dict[str, Any]:
    """``{"class_name": ..., "config": ...}``, from which `get` makes an equal initializer."""
    if not isinstance(initializer, Initializer):
        raise TypeError(f"serialize: expected an Initializer, got {initializer!r}")
    return {"class_name": class_name(type(initializer)), "config": initializer.get_config()}


def deserialize(config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Callable[..., Array]:
    """The initializer that `serialize` described.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        Own classes by their names.
    """
    with custom_object_scope(custom_objects):
        return get(config)


# Keras's second spelling of each class.
zeros, ones, constant, identity = Zeros, Ones, Constant, Identity
random_normal, truncated_normal, random_uniform = RandomNormal, TruncatedNormal, RandomUniform
variance_scaling, orthogonal = VarianceScaling, Orthogonal
glorot_uniform, glorot_normal, he_uniform, he_normal = GlorotUniform, GlorotNormal, HeUniform, HeNormal
lecun_uniform, lecun_normal = LecunUniform, LecunNormal
IdentityInitializer, OrthogonalInitializer = Identity, Orthogonal
