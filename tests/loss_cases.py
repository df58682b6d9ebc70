"""Every loss with its options and data of its kind, for the tests of gradients and those beside Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

B, T, C = 4, 5, 3

REAL, COUNTS, SIGNS, BINARY, ONE_HOT, SHARES, LABELS = (
    "real",
    "counts",
    "signs",
    "binary",
    "one_hot",
    "shares",
    "labels",
)

#: Class, arguments, kind of y_true, kind of y_pred.
LOSSES: list[tuple[str, dict[str, Any], str, str]] = [
    ("MeanSquaredError", {}, REAL, REAL),
    ("MeanAbsoluteError", {}, REAL, REAL),
    ("MeanAbsolutePercentageError", {}, REAL, REAL),
    ("MeanSquaredLogarithmicError", {}, COUNTS, REAL),
    ("Huber", {}, REAL, REAL),
    ("Huber", {"delta": 0.4}, REAL, REAL),
    ("LogCosh", {}, REAL, REAL),
    ("Hinge", {}, SIGNS, REAL),
    ("Hinge", {}, BINARY, REAL),
    ("SquaredHinge", {}, SIGNS, REAL),
    ("SquaredHinge", {}, BINARY, REAL),
    ("CategoricalHinge", {}, ONE_HOT, REAL),
    ("KLDivergence", {}, SHARES, SHARES),
    ("Poisson", {}, COUNTS, SHARES),
    ("CosineSimilarity", {}, REAL, REAL),
    ("CosineSimilarity", {"axis": -2}, REAL, REAL),
    ("BinaryCrossentropy", {}, BINARY, SHARES),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, BINARY, REAL),
    ("BinaryCrossentropy", {"axis": 1}, BINARY, SHARES),
    ("CategoricalCrossentropy", {}, ONE_HOT, SHARES),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, ONE_HOT, REAL),
    ("CategoricalCrossentropy", {"label_smoothing": 0.3}, SHARES, SHARES),
    ("SparseCategoricalCrossentropy", {}, LABELS, SHARES),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS, REAL),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, LABELS, SHARES),
    ("BinaryFocalCrossentropy", {}, BINARY, SHARES),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5}, BINARY, SHARES),
    ("BinaryFocalCrossentropy", {"from_logits": True, "gamma": 0.5}, BINARY, REAL),
    ("BinaryFocalCrossentropy", {"gamma": 0.0, "label_smoothing": 0.2}, BINARY, SHARES),
    ("CategoricalFocalCrossentropy", {}, ONE_HOT, SHARES),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "gamma": 1.0}, ONE_HOT, REAL),
    ("CategoricalFocalCrossentropy", {"alpha": [0.2, 0.5, 0.3], "label_smoothing": 0.1}, ONE_HOT, SHARES),
]
IDS = [f"{name}-{'-'.join(f'{k}={v}' for k, v in arguments.items())}-{true}" for name, arguments, true, _ in LOSSES]


def data(kind: str, rng: np.random.Generator) -> Any:
    """(B,T,C) numbers of a kind, or (B,T) labels."""
    if kind == REAL:
        return 2 * rng.normal(size=(B, T, C))
    if kind == COUNTS:
        return rng.poisson(2.0, (B, T, C)).astype(float)
    if kind == LABELS:
        return rng.integers(0, C, (B, T))
    if kind == ONE_HOT:
        return np.eye(C)[rng.integers(0, C, (B, T))]
    if kind == SHARES:
        positive = rng.uniform(0.1, 1, (B, T, C))
        return positive / positive.sum(axis=-1, keepdims=True)
    return rng.integers(0, 2, (B, T, C)) * (1.0 if kind == BINARY else 2.0) - (0 if kind == BINARY else 1)


# All names, as an error lists them.
LOSS_NAMES = (
    "'binary_crossentropy', 'binary_focal_crossentropy', 'categorical_crossentropy', "
    "'categorical_focal_crossentropy', 'categorical_hinge', 'cosine_similarity', 'ctc', 'hinge', 'huber', "
    "'kl_divergence', 'log_cosh', 'mean_absolute_error', 'mean_absolute_percentage_error', 'mean_squared_error', "
    "'mean_squared_logarithmic_error', 'poisson', 'sparse_categorical_crossentropy', 'squared_hinge'"
)
