"""Prints the coefficients of csrc/kernels/vec.h: e^r - 1 = r + r^2 q(r) for |r| <= ln(2)/2.

Least squares in 60 digits at Chebyshev nodes, weighted so that the error relative to e^r - 1 counts; that is within a
factor of two of the best polynomial. Needs mpmath. Run: python tools/expm1_coefficients.py
"""

from mpmath import cos, expm1, linspace, log, matrix, mp, mpf, pi, qr_solve

mp.dps = 60
EDGE = log(2) / 2 * mpf("1.001")  # rounding n may leave r a little outside


def fit(degree, nodes=200):
    """Coefficients of q, lowest first."""
    points = [EDGE * cos(pi * (k + mpf(1) / 2) / nodes) for k in range(nodes)]
    left = matrix([[r * r / expm1(r) * r**k for k in range(degree + 1)] for r in points])
    right = matrix([1 - r / expm1(r) for r in points])
    return list(qr_solve(left, right)[0])


def largest_error(q):
    """Of r + r^2 q(r), relative to e^r - 1."""
    grid = [r for r in linspace(-EDGE, EDGE, 1000) if r != 0]
    return max(abs((r + r * r * sum(c * r**k for k, c in enumerate(q))) / expm1(r) - 1) for r in grid)


for name, degree in (("float32", 4), ("float64", 10)):
    coefficients = fit(degree)
    print(f"{name}: relative error 2^{float(log(largest_error(coefficients), 2)):.1f}")
    print("\n".join(f"    {float(c):.17e}" for c in coefficients))
