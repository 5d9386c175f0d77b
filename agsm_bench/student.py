"""Student's distribution, without NumPy, which reports do not load."""

from __future__ import annotations


def student(freedom: int) -> float:
    """97.5% quantile of Student's distribution, to 0.01 (Cornish and Fisher's expansion from three degrees on)."""
    if freedom < 1:
        raise ValueError("Student's distribution needs a degree of freedom")
    if freedom < 3:
        return (12.706, 4.303)[freedom - 1]
    z = 1.959964
    terms = ((z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))
