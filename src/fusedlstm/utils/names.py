"""Names made of those of classes."""

from __future__ import annotations

import re


def snake_case(name: str) -> str:
    """``"MeanSquaredError"`` as ``"mean_squared_error"``, ``"F1Score"`` as ``"f1_score"``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
