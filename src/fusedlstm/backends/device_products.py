"""NumPy's products of device arrays, as matrix products, or as sums of elementwise ones where there is no matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusedlstm.backends.device_matmul import matmul
from fusedlstm.backends.device_reductions import normalized


def dot(cls: Any, a: Any, b: Any, out: Any = None) -> Any:
    a, b = cls.of(a), cls.of(b)
    if not a.ndim or not b.ndim:
        return np.multiply(a, b, out=out)
    if b.ndim > 2:
        return _put(out, tensordot(cls, a, b, ((-1,), (-2,))))
    if a.dtype.kind != "f" or b.dtype.kind != "f":
        return NotImplemented
    if a.ndim == 1 == b.ndim:
        return _put(out, vdot(cls, a, b))
    return matmul(a, b, out=out)


def _put(out: Any, result: Any) -> Any:
    if out is None:
        return result
    out[...] = result
    return out


def vdot(cls: Any, a: Any, b: Any) -> Any:
    return np.add.reduce(np.multiply(cls.of(a).ravel(), cls.of(b).ravel()))


def inner(cls: Any, a: Any, b: Any) -> Any:
    a, b = cls.of(a), cls.of(b)
    return np.multiply(a, b) if not a.ndim or not b.ndim else tensordot(cls, a, b, ((-1,), (-1,)))


def outer(cls: Any, a: Any, b: Any, out: Any = None) -> Any:
    return np.multiply(cls.of(a).ravel()[:, None], cls.of(b).ravel()[None], out=out)


def tensordot(cls: Any, a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = cls.of(a), cls.of(b)
    if isinstance(axes, (int, np.integer)):
        axes = range(a.ndim - int(axes), a.ndim), range(int(axes))
    mine, other = ([x] if isinstance(x, (int, np.integer)) else list(x) for x in axes)
    mine, other = [x % a.ndim for x in mine], [x % b.ndim for x in other]
    if [a.shape[i] for i in mine] != [b.shape[i] for i in other]:
        raise ValueError(f"tensordot: shapes {a.shape} and {b.shape} do not fit along axes {mine} and {other}")
    rest_a = [i for i in range(a.ndim) if i not in mine]
    rest_b = [i for i in range(b.ndim) if i not in other]
    deep = math.prod(a.shape[i] for i in mine)
    left = a.transpose([*rest_a, *mine]).reshape(math.prod(a.shape[i] for i in rest_a), deep)
    right = b.transpose([*other, *rest_b]).reshape(deep, math.prod(b.shape[i] for i in rest_b))
    shape = [*(a.shape[i] for i in rest_a), *(b.shape[i] for i in rest_b)]
    return _product(left, right).reshape(shape)


def _product(left: Any, right: Any) -> Any:
    """(..., M, K) times (..., K, N); where both M and N are 1 as sums, a tile of a matrix would be nearly empty."""
    if left.shape[-2] == 1 == right.shape[-1] or left.dtype.kind != "f":
        return np.add.reduce(np.multiply(left[..., :, None, :], right.swapaxes(-1, -2)[..., None, :, :]), axis=-1)
    return matmul(left, right)


def einsum(cls: Any, *operands: Any, out: Any = None, dtype: Any = None, order: str = "K", casting: str = "safe",
           optimize: Any = False) -> Any:  # fmt: skip
    """``np.einsum("ij,jk->ik", a, b)``: without an index twice in one operand."""
    if not isinstance(operands[0], str) or dtype is not None:
        return NotImplemented
    arrays = [cls.of(x) for x in operands[1:]]
    text = _spelled_out(operands[0].replace(" ", ""), [x.ndim for x in arrays])
    given, arrow, result = text.partition("->")
    terms = given.split(",")
    if not arrow:
        once = sorted(c for c in set(given) - {","} if given.count(c) == 1)
        result = "".join(sorted(set(_ELLIPSIS) & set(given), key=_ELLIPSIS.index)) + "".join(
            c for c in once if c not in _ELLIPSIS
        )
    if any(len(set(t)) < len(t) for t in (*terms, result)) or len(terms) != len(arrays):
        return NotImplemented
    if any(len(t) != x.ndim for t, x in zip(terms, arrays, strict=True)) or set(result) - set(given):
        raise ValueError(f"einsum: expected operands for {text!r}, got shapes {[x.shape for x in arrays]}")
    term, array = terms[0], arrays[0]
    for i in range(1, len(arrays)):
        later = set(result).union(*terms[i + 1 :])
        term, array = _contract(term, array, terms[i], arrays[i], later)
    gone = tuple(k for k, c in enumerate(term) if c not in result)
    if gone:
        array = np.add.reduce(array, axis=normalized(gone, array.ndim))
        term = "".join(c for c in term if c in result)
    array = array.transpose([term.index(c) for c in result])
    return _put(out, array)


#: The letters that axes behind an ellipsis get; the last one is the last axis.
_ELLIPSIS = "αβγδεζηθ"


def _spelled_out(text: str, ranks: list[int]) -> str:
    """The text with letters in the place of every ellipsis."""
    given, arrow, result = text.partition("->")
    terms = []
    most = 0
    for term, rank in zip(given.split(","), ranks, strict=False):
        hidden = rank - len(term.replace("...", ""))
        if "..." in term:
            most = max(most, hidden)
            term = term.replace("...", _ELLIPSIS[len(_ELLIPSIS) - hidden :])
        terms.append(term)
    return ",".join(terms) + arrow + result.replace("...", _ELLIPSIS[len(_ELLIPSIS) - most :])


def _contract(term: str, a: Any, other: str, b: Any, later: set[str]) -> tuple[str, Any]:
    """The product of two operands, summed over the indices that nothing later needs."""
    shared = [c for c in term if c in other]
    batch = [c for c in shared if c in later]
    summed = [c for c in shared if c not in later]
    alone = [[c for c in t if c not in shared and c in later] for t in (term, other)]
    for t, x in ((term, a), (other, b)):
        if any(x.shape[t.index(c)] != size for c, size in _sizes(term, a, shared)):
            raise ValueError(f"einsum: shapes {a.shape} and {b.shape} do not fit {term!r} and {other!r}")
    matrices = []
    for t, x, free in ((term, a, alone[0]), (other, b, alone[1])):
        dropped = tuple(k for k, c in enumerate(t) if c not in shared and c not in free)
        if dropped:
            x, t = np.add.reduce(x, axis=dropped), "".join(c for c in t if c in shared or c in free)
        order = [t.index(c) for c in (*batch, *free, *summed)]
        x = x.transpose(order)
        n = len(batch)
        matrices.append(
            x.reshape(*x.shape[:n], math.prod(x.shape[n : n + len(free)]), math.prod(x.shape[n + len(free) :]))
        )
    left, right = matrices
    product = _product(left, right.swapaxes(-1, -2))
    sizes = dict(zip(term, a.shape, strict=True)) | dict(zip(other, b.shape, strict=True))
    letters = [*batch, *alone[0], *alone[1]]
    return "".join(letters), product.reshape([sizes[c] for c in letters])


def _sizes(term: str, x: Any, letters: list[str]) -> list[tuple[str, int]]:
    return [(c, x.shape[term.index(c)]) for c in letters]
