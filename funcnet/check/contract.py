"""Checks of the shape, dtype and structure of results."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet import random, tree
from funcnet.check.diagnosis import likely_cause_of_shape
from funcnet.check.verdict import Claim
from funcnet.random import Key
from funcnet.shapes import Array, Shape
from funcnet.tree import Tree

__all__ = [
    "expect_array",
    "expect_finite",
    "expect_gradient",
    "expect_like",
    "expect_number",
    "expect_pair",
    "expect_tree",
    "moved",
    "path_in",
]


def expect_array(claim: Claim, where: str, array: object, shape: Shape, dtype: Any, batch: int = 0) -> None:
    """Refute the claim unless ``array`` is one of this shape and dtype."""
    if not isinstance(array, np.ndarray):
        scalar = "arithmetic on an array of no axes makes a scalar: np.asarray(...)"
        raise claim.refuted(
            "a result is no array",
            where=where,
            detail=f"it is of type {type(array).__name__}",
            cause=scalar if isinstance(array, np.generic) else None,
        )
    if array.shape != shape:
        raise claim.refuted(
            "a shape is wrong",
            where=where,
            detail=f"shape {array.shape} where {shape} belongs",
            cause=likely_cause_of_shape(array.shape, shape, batch),
        )
    if array.dtype != dtype:
        raise claim.refuted(
            "a dtype is wrong",
            where=where,
            detail=f"{array.dtype} where all that went in is {np.dtype(dtype)}",
            cause="a NumPy float64 among the factors, such as np.sqrt(2), or np.where of Python numbers"
            if array.dtype == np.float64
            else None,
        )


def expect_finite(claim: Claim, where: str, value: Any) -> None:
    """Refute the claim unless every number is finite."""
    if not np.isfinite(value).all():
        raise claim.refuted("finite inputs give NaN or infinity", where=where)


def expect_number(claim: Claim, where: str, value: object, dtype: Any = None) -> None:
    """Refute the claim unless ``value`` is one finite number: a Python float, or a 0-d array.

    With a ``dtype``, such an array has it.
    """
    array = isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0
    if not array and not isinstance(value, float):
        raise claim.refuted("a value is no single number", where=where, detail=f"it is a {type(value).__name__}")
    if array and dtype is not None:
        expect_array(claim, where, np.asarray(value), (), dtype)
    expect_finite(claim, where, value)


def expect_like(claim: Claim, name: str, given: Tree, wanted: Tree, batch: int = 0) -> None:
    """Refute the claim unless ``given`` is a tree like ``wanted``, with the shapes and dtypes of its arrays."""
    try:
        tree.map(lambda a, _: a, wanted, given)
        tree.map(lambda a, _: a, given, wanted)
    except (ValueError, TypeError) as error:
        raise claim.refuted("a tree has another structure", where=name, detail=str(error)) from error
    for (path, leaf), (_, other) in zip(tree.named_leaves(given), tree.named_leaves(wanted), strict=True):
        expect_array(claim, path_in(name, path), leaf, other.shape, other.dtype, batch)


def expect_gradient(claim: Claim, name: str, given: Tree, params: Tree, batch: int = 0) -> None:
    """Refute the claim unless ``given`` is a tree like what is trained of ``params``, with None for all else."""
    wanted = tree.trained(params)
    try:
        paths = [path for path, _ in tree.named_leaves(given)]
    except TypeError:  # not a tree: expect_like says so
        paths = []
    everything, trained = ([path for path, _ in tree.named_leaves(node)] for node in (params, wanted))
    for path in everything:
        if path in paths and path not in trained:
            raise claim.refuted(
                "what is not trained has a gradient",
                where=path_in(name, path),
                cause="array_field(trained=False) or frozen(...) says that it is not trained: its gradient is None",
            )
    expect_like(claim, name, given, wanted, batch)


def expect_tree(claim: Claim, name: str, node: Any) -> None:
    """Refute the claim unless ``node`` is made of arrays, tuples, records and None."""
    try:
        tree.leaves(node)
    except TypeError as error:
        raise claim.refuted(f"{name} are no tree", where=name, detail=str(error)) from error


def expect_pair(claim: Claim, what: str, result: Any, of: str) -> tuple[Any, Any]:
    """Refute the claim unless a function returned two things."""
    if not isinstance(result, tuple) or len(result) != 2:
        given = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise claim.refuted(f"{what} does not return {of}", detail=f"it returned {given}")
    return result


def moved(key: Key, leaf: Array) -> Array:
    """A parameter moved away from its initial value. A zero, such as an initial bias, could hide a wrong gradient.

    Each entry moves in proportion to its size, so that numbers that must be positive stay positive.
    """
    away = np.float32(0.25) * random.normal(key, leaf.shape)
    return np.asarray(leaf + away * np.where(leaf == 0, np.float32(1), leaf))


def path_in(name: str, path: str) -> str:
    """A path within the tree called ``name``: ``dparams`` and ``[1].weight`` make ``dparams[1].weight``."""
    return f"{name}{path}" if path[:1] in ("", "[") else f"{name}.{path}"
