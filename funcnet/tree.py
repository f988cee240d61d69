"""Records as trees of arrays: map, leaves, paths, equality, norms.

A *tree* is an array (a leaf), ``None`` (nothing), a tuple of trees, or an attrs record whose fields are trees. Whole
numbers and strings in it, such as a shape, are part of its structure. Parameters, their gradients and an optimizer's
state are such trees of one structure, so whatever is done to parameters is one ``tree.map``.

Arrays inside records are read-only. ``freeze`` declares an array that a function has just made to be finished;
``array_field`` is how a record declares a field that holds one.
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import attrs
import numpy as np

from funcnet.shapes import Array

__all__ = [
    "Tree",
    "array_field",
    "byte_count",
    "equal",
    "freeze",
    "leaves",
    "map",
    "map_named",
    "named_leaves",
    "norm",
    "readonly",
]

Tree: TypeAlias = Any
T = TypeVar("T")


def freeze(array: Array) -> Array:
    """Make an array that the caller has just made read-only, and return it. No copy."""
    array.flags.writeable = False
    return array


def readonly(array: object) -> Array:
    """The array itself if nobody can write to it any more, else a read-only copy.

    Raises:
        TypeError: for anything but an array.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"a record holds NumPy arrays, got {type(array).__name__}: {array!r:.80}")
    base = array.base
    if array.flags.writeable or (base is not None and not (isinstance(base, np.ndarray) and not base.flags.writeable)):
        return freeze(array.copy())
    return array


def _same(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and np.array_equal(a, b)


def array_field(*, optional: bool = False) -> Any:
    """A record's field that holds a read-only array (or ``None``), compared by dtype, shape and content."""
    converter = attrs.converters.optional(readonly) if optional else readonly
    return attrs.field(converter=converter, eq=attrs.cmp_using(eq=_same), default=None if optional else attrs.NOTHING)


@functools.cache
def _field_names(record: type) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(record))


def _children(node: Tree, path: str) -> list[tuple[str, Tree]]:
    """The (path, child) pairs of a node that is no leaf."""
    if node is None or isinstance(node, int | str):
        return []
    if isinstance(node, tuple):
        return [(f"{path}[{i}]", child) for i, child in enumerate(node)]
    record: type = type(node)
    if attrs.has(record):
        dot = "." if path else ""
        return [(f"{path}{dot}{name}", getattr(node, name)) for name in _field_names(record)]
    raise TypeError(
        f"{path or 'the tree'} is a {type(node).__name__}: a tree is made of arrays, tuples, attrs records and None"
    )


def map(f: Callable[..., Array], tree: T, *rest: Tree) -> T:
    """The tree of ``f(leaf, *leaves of rest)``, in the structure of ``tree``.

    The arrays ``f`` returns become the new tree's own and are made read-only.

    Raises:
        TypeError: where a node is no tree.
        ValueError: where a tree of ``rest`` differs from ``tree`` in structure, naming the place.
    """
    return map_named(lambda path, *leaves: f(*leaves), tree, *rest)


def map_named(f: Callable[..., Array], tree: T, *rest: Tree) -> T:
    """As ``map``, of ``f(path, leaf, *leaves of rest)``."""

    def walk(path: str, node: Tree, *others: Tree) -> Tree:
        for other in others:
            if type(other) is not type(node) or (isinstance(node, tuple) and len(other) != len(node)):
                raise _differ(path, node, other)
        if isinstance(node, np.ndarray):
            return freeze(np.asarray(f(path, node, *others)))  # an operation on an array of no axes makes a scalar
        if node is None or isinstance(node, int | str):
            return node
        columns = [_children(n, path) for n in (node, *others)]
        children = [walk(row[0][0], *(child for _, child in row)) for row in zip(*columns, strict=True)]
        return tuple(children) if isinstance(node, tuple) else type(node)(*children)

    return walk("", tree, *rest)


def _differ(path: str, one: Tree, other: Tree) -> ValueError:
    def kind(node: Tree) -> str:
        return f"tuple of {len(node)}" if isinstance(node, tuple) else type(node).__name__

    return ValueError(f"trees differ at {path or 'the root'}: {kind(one)} against {kind(other)}")


def named_leaves(tree: Tree) -> list[tuple[str, Array]]:
    """Every leaf with its path, in order: ``[("[1].weight", array), ("[1].bias", array), ...]``.

    A path is what a reader would write after the tree's name: ``params[1].weight``.
    """
    found: list[tuple[str, Array]] = []

    def walk(path: str, node: Tree) -> None:
        if isinstance(node, np.ndarray):
            found.append((path, node))
        else:
            for child_path, child in _children(node, path):
                walk(child_path, child)

    walk("", tree)
    return found


def leaves(tree: Tree) -> list[Array]:
    """Every leaf, in order."""
    return [leaf for _, leaf in named_leaves(tree)]


def equal(a: Tree, b: Tree) -> bool:
    """Whether two trees have one structure and, leaf by leaf, the same dtype, shape and content."""
    one, other = named_leaves(a), named_leaves(b)
    return len(one) == len(other) and all(p == q and _same(x, y) for (p, x), (q, y) in zip(one, other, strict=True))


def norm(tree: Tree) -> float:
    """The Euclidean norm over all entries of all leaves."""
    return math.sqrt(sum(squared_norm(leaf) for leaf in leaves(tree)))


def squared_norm(array: Array) -> float:
    """The sum of the squares of an array's entries: one pass over memory, in BLAS, with no temporary."""
    flat = array.ravel(order="K")
    return float(np.vdot(flat, flat))


def byte_count(tree: Tree) -> int:
    """The memory the leaves take, in bytes."""
    return builtins.sum(leaf.nbytes for leaf in leaves(tree))
