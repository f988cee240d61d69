"""Helpers for arrays of any namespace: what the equations need beyond the Python array API standard.

The equations of layers, losses, penalties and optimizers are written once. They use only operators and the functions of
the array's own namespace. So the same functions run on NumPy arrays, on JAX arrays (also under ``jax.jit``), and on
arrays of ``array-api-strict`` in the tests. See https://data-apis.org/array-api/latest.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

__all__ = ["Scalar", "is_array", "namespace", "select", "share_of", "shielded"]

Scalar: TypeAlias = Any  # one number: a 0-d array, a NumPy scalar or a Python float

# A decorator: NumPy's floating-point errors are ignored in the function, whatever ``np.seterr`` the caller has set.
# Equations underflow and overflow on purpose. All that is public and computes is shielded, here or by the door.
shielded = np.errstate(all="ignore")


def namespace(array: Any) -> Any:
    """The functions for this array: ``numpy``, ``jax.numpy`` or another module of the standard."""
    return array.__array_namespace__()


def is_array(value: object) -> bool:
    """Whether the value is an array of NumPy or of another namespace."""
    return isinstance(value, np.ndarray) or hasattr(value, "__array_namespace__")


def select(condition: Any, if_true: Any, if_false: Any) -> Any:
    """``if_true`` if the condition holds, else ``if_false``: two arrays of one shape, or two numbers.

    The condition is one truth value. Under ``jax.jit`` it is a traced array, whose value is not known.
    """
    if not is_array(condition) or isinstance(condition, np.generic | np.ndarray):
        return if_true if condition else if_false
    return namespace(condition).where(condition, if_true, if_false)


def share_of(truths: Any) -> Any:
    """The share of an array's entries that are true, in the namespace's default floating-point type."""
    xp = namespace(truths)
    dtype = xp.__array_namespace_info__().default_dtypes()["real floating"]
    return xp.mean(xp.astype(truths, dtype))
