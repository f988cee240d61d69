"""Records as trees of arrays: map, leaves, paths, equality, norms.

A *tree* is an array (a leaf), ``None`` (nothing), a tuple of trees, or an attrs record whose fields are trees. Whole
numbers and strings in it, such as a shape, are part of its structure. Parameters, their gradients and an optimizer's
state are such trees of one structure, so whatever is done to parameters is one ``tree.map``.

What is not trained (running statistics, frozen layers) lives in the parameters like all else. Its gradient is ``None``.
``trained`` gives the tree of what is trained, and ``combine`` puts a new tree of that kind back over the old one.

NumPy arrays inside records are read-only. ``freeze`` declares an array that a function has just made to be finished;
``array_field`` is how a record declares a field that holds one. The arrays may be those of any namespace, and records
are pytrees of JAX once JAX has been imported.
"""

from __future__ import annotations

import builtins
import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import attrs
import numpy as np

from funcnet import aligned
from funcnet.arrays import is_array, namespace
from funcnet.shapes import Array

__all__ = [
    "Record",
    "Tree",
    "array_field",
    "combine",
    "equal",
    "expect_own",
    "freeze",
    "leaves",
    "map",
    "map_named",
    "named_leaves",
    "norm",
    "readonly",
    "readonly_view",
    "static_field",
    "trained",
    "writable",
]

Tree: TypeAlias = Any
T = TypeVar("T")
_BLOCK = 1 << 13


def freeze(array: Array) -> Array:
    """Make an array that the caller has just made read-only, and return it. No copy."""
    array.setflags(write=False)
    return array


def expect_own(arrays: Sequence[Array]) -> None:
    """Require that the arrays share memory with nothing, so that whoever was given them for good may write to them.

    Raises:
        ValueError: where an array is a view, or stands there twice.
    """
    if len(set(builtins.map(id, arrays))) != len(arrays) or not all(builtins.map(aligned.is_own, arrays)):
        raise ValueError("a state that is given up needs arrays of its own (copy_state makes such a state)")


@contextmanager
def writable(arrays: Sequence[Array]) -> Iterator[None]:
    """Within, the arrays may be written to. They are the caller's own: see ``expect_own``."""
    # setflags takes half the time of array.flags.writeable: of a small network's step, that is a thirtieth.
    try:
        for array in arrays:
            array.setflags(write=True)
        yield
    finally:
        for array in arrays:
            array.setflags(write=False)


def readonly(array: object) -> Array:
    """The array itself if nobody can write to it any more, else a read-only copy.

    Arrays of other namespaces pass: they are never written to.

    Raises:
        TypeError: for anything but an array.
    """
    if isinstance(array, np.generic):  # an operation on an array of no axes made it
        return freeze(np.asarray(array))
    if not isinstance(array, np.ndarray):
        if is_array(array):
            return array  # type: ignore[return-value]
        raise _no_array(array)
    base = array.base
    finished = aligned.is_own(array) or (
        isinstance(base, np.ndarray) and not base.flags.writeable and aligned.is_own(base)
    )
    if array.flags.writeable or not finished:
        return freeze(aligned.copy(array))
    return array


def _no_array(value: object) -> TypeError:
    return TypeError(f"a record holds arrays, got {type(value).__name__}: {value!r:.80}")


def readonly_view(array: Array) -> Array:
    """A view that cannot be written through. No copy: for records of data, whose arrays may be large.

    Raises:
        TypeError: for anything but an array.
    """
    if isinstance(array, np.ndarray):
        return freeze(array.view())
    if is_array(array):
        return array
    raise _no_array(array)


def _same(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and bool(namespace(a).all(a == b))


def array_field(*, trained: bool = True, **options: Any) -> Any:
    """A record's field that holds a read-only array, or None, compared by dtype, shape and content.

    With ``trained=False`` the field is part of the parameters, but no optimizer moves it: see ``trained``.
    """
    converter = attrs.converters.optional(readonly)
    metadata = {"trained": trained}
    return attrs.field(converter=converter, eq=attrs.cmp_using(eq=_same), metadata=metadata, **options)


def static_field(**options: Any) -> Any:
    """A record's field that is part of its structure, such as a shape: never a number that JAX could trace."""
    return attrs.field(metadata={"static": True}, **options)


class Record:
    """The base of attrs records with arrays: one that was copied or pickled is as read-only as before.

    Records are pytrees of JAX. Their types are registered when a record is made after JAX was imported.
    """

    __slots__ = ()

    def __attrs_pre_init__(self) -> None:
        if "jax" in sys.modules:
            record: Any = type(self)
            _register_with_jax(record)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # NumPy's pickles forget that an array was read-only; the record's own constructor makes it so again.
        record: type = type(self)
        return _record_of, (record, tuple(getattr(self, name) for name in _field_names(record) or ()))


@functools.cache
def _register_with_jax(record: type) -> None:
    from jax.tree_util import GetAttrKey, register_pytree_with_keys

    fields = attrs.fields(record)
    static = [field.name for field in fields if field.metadata.get("static")]
    traced = [field.name for field in fields if not field.metadata.get("static")]

    def flatten(node: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        children = [(GetAttrKey(name), getattr(node, name)) for name in traced]
        return children, tuple(getattr(node, name) for name in static)

    def unflatten(constants: tuple[Any, ...], children: Iterable[Any]) -> Any:
        # Past the record's own converters: JAX puts placeholders in the places of arrays.
        node: Any = object.__new__(record)
        for name, value in zip((*static, *traced), (*constants, *children), strict=True):
            object.__setattr__(node, name, value)
        return node

    register_pytree_with_keys(record, flatten, unflatten)


@functools.cache
def _field_names(record: type) -> tuple[str, ...] | None:
    """The names of the fields of an attrs record; None for another type."""
    return tuple(field.name for field in attrs.fields(record)) if attrs.has(record) else None


def _record_of(record: Any, values: Iterable[Any]) -> Any:
    """The record with these values of its fields, in order; by name, since it may take them so alone."""
    return record(**dict(zip(_arguments(record), values, strict=True)))


@functools.cache
def _arguments(record: type) -> tuple[str, ...]:
    return tuple(field.alias for field in attrs.fields(record))


def _children(node: Tree, path: str) -> list[tuple[str, Tree]]:
    """The (path, child) pairs of a node that is no leaf."""
    if node is None or isinstance(node, int | str):
        return []
    if isinstance(node, tuple):
        return [(f"{path}[{i}]", child) for i, child in enumerate(node)]
    record: type = type(node)
    if (names := _field_names(record)) is not None:
        dot = "." if path else ""
        return [(f"{path}{dot}{name}", getattr(node, name)) for name in names]
    raise TypeError(
        f"{path or 'the tree'} is a {type(node).__name__}: a tree is made of arrays, tuples, attrs records and None"
    )


def map(f: Callable[..., Array], tree: T, *rest: Tree) -> T:
    """The tree of ``f(leaf, *leaves of rest)``, in the structure of ``tree``.

    Where ``tree`` has None, so has the result, whatever the others hold there: gradients come first, parameters after.
    The arrays ``f`` returns become the new tree's own and are made read-only.

    Raises:
        TypeError: where a node is no tree.
        ValueError: where a tree of ``rest`` differs from ``tree`` in structure, naming the place.
    """
    return map_named(lambda path, *leaves: f(*leaves), tree, *rest)


def map_named(f: Callable[..., Array], tree: T, *rest: Tree) -> T:
    """As ``map``, of ``f(path, leaf, *leaves of rest)``."""
    return _map(f, "", tree, rest)


def _map(f: Callable[..., Array], path: str, node: Tree, others: tuple[Tree, ...]) -> Tree:
    if node is None:
        return None
    for other in others:
        _expect_same_node(path, node, other)
    if not isinstance(node, tuple):  # most nodes are tuples or arrays, and to ask what is an array takes longest
        if is_array(node):
            return _finished(f(path, node, *others), (node, *others))
        if isinstance(node, int | str):
            return node
    columns = [_children(n, path) for n in (node, *others)]
    children = [_map(f, row[0][0], row[0][1], tuple(c for _, c in row[1:])) for row in zip(*columns, strict=True)]
    if isinstance(node, tuple):
        return tuple(children) if type(node) is tuple else type(node)(*children)
    return _record_of(type(node), children)


def _finished(result: Any, given: tuple[Array, ...]) -> Array:
    """The result of a mapped function as a read-only array, without freezing one that it was given or a part of one."""
    if not isinstance(result, np.ndarray | np.generic | int | float | complex) and is_array(result):
        return result
    result = np.asarray(result)  # an operation on an array of no axes makes a scalar
    if not aligned.is_own(result) or any(result is array for array in given):
        return readonly(result)
    return freeze(result)


def _expect_same_node(path: str, one: Tree, other: Tree) -> None:
    same_length = not isinstance(one, tuple) or (isinstance(other, tuple) and len(one) == len(other))
    same_constant = not isinstance(one, int | str) or one == other
    same_kind = type(one) is type(other) or (is_array(one) and is_array(other))
    if not same_kind or not same_length or not same_constant:
        raise ValueError(f"trees differ at {path or 'the root'}: {_kind(one)} against {_kind(other)}")


def _kind(node: Tree) -> str:
    if isinstance(node, int | str):
        return repr(node)
    return f"tuple of {len(node)}" if isinstance(node, tuple) else type(node).__name__


def named_leaves(tree: Tree, name: str = "") -> list[tuple[str, Array]]:
    """Every leaf with its path, in order: ``[("[1].weight", array), ("[1].bias", array), ...]``.

    A path is what a reader would write after the tree's name, or with it, if it is given: ``params[1].weight``.
    """
    if is_array(tree):
        return [(name, tree)]
    found: list[tuple[str, Array]] = []
    _find_named_leaves(name, tree, found)
    return found


def _find_named_leaves(path: str, node: Tree, found: list[tuple[str, Array]]) -> None:
    for child_path, child in _children(node, path):
        if is_array(child):
            found.append((child_path, child))
        else:
            _find_named_leaves(child_path, child, found)


def leaves(tree: Tree) -> list[Array]:
    """Every leaf, in order."""
    found: list[Array] = []
    try:
        _find_leaves(tree, found)
    except TypeError:
        return [leaf for _, leaf in named_leaves(tree)]  # raises the same error, with the path
    return found


def _find_leaves(node: Tree, found: list[Array]) -> None:
    # Not by paths, and without a call for each leaf: a small network's step spends more time on this than on sums.
    record: type = type(node)
    children: Iterable[Tree]
    if isinstance(node, tuple):
        children = node
    elif (names := _field_names(record)) is not None:
        children = [getattr(node, name) for name in names]
    elif is_array(node):
        children = (node,)
    else:
        _children(node, "")  # part of the structure, or no tree
        return
    for child in children:
        if is_array(child):
            found.append(child)
        elif child is not None:
            _find_leaves(child, found)


def equal(a: Tree, b: Tree) -> bool:
    """Whether two trees have one structure and, leaf by leaf, the same dtype, shape and content."""
    same: list[bool] = []

    def compare(x: Array, y: Array) -> Array:
        same.append(_same(x, y))
        return x

    try:
        map(compare, a, b)
        map(compare, b, a)  # the other way too: what is None in the first tree is not looked at in the second
    except ValueError:
        return False
    return all(same)


def trained(tree: T) -> T:
    """The tree with None for all that is not trained: what a gradient looks like.

    That is what stands in a field declared so: ``array_field(trained=False)``.
    """
    if is_array(tree) or tree is None or isinstance(tree, int | str):
        return tree
    if isinstance(tree, tuple):
        nodes = [trained(node) for node in tree]
        same: Any = tuple(nodes) if type(tree) is tuple else type(tree)(*nodes)
        return same
    record: type = type(tree)
    if (names := _field_names(record)) is None:
        _children(tree, "")  # raises
    fixed = _fixed_names(record)
    return _record_of(record, [None if name in fixed else trained(getattr(tree, name)) for name in names or ()])


@functools.cache
def _fixed_names(record: type) -> frozenset[str]:
    """The fields that are not trained."""
    return frozenset(field.name for field in attrs.fields(record) if not field.metadata.get("trained", True))


def combine(new: T, old: T) -> T:
    """The tree of ``new``, and of ``old`` where ``new`` has None: new values of what is trained, and all the rest.

    Raises:
        ValueError: where the trees differ in structure, naming the place.
    """
    return _combine("", new, old)


def _combine(path: str, new: Tree, old: Tree) -> Tree:
    if new is None:
        return old
    _expect_same_node(path, new, old)
    if is_array(new) or isinstance(new, int | str):
        return new
    pairs = zip(_children(new, path), _children(old, path), strict=True)
    nodes = [_combine(child_path, child, other) for (child_path, child), (_, other) in pairs]
    if isinstance(new, tuple):
        return tuple(nodes) if type(new) is tuple else type(new)(*nodes)
    return _record_of(type(new), nodes)


def norm(tree: Tree) -> float:
    """The Euclidean norm over all entries of all leaves, computed in float64."""
    return math.sqrt(math.fsum(squared_norm(leaf.astype(np.float64)) for leaf in leaves(tree)))


def squared_norm(array: Array) -> float:
    """The sum of the squares of an array's entries: one pass over memory, in BLAS, without a copy of them."""
    flat = array.ravel(order="K")
    # By blocks, which are added up in float64: one sum of millions of float32 is off by a thousandth.
    blocks = (flat[begin : begin + _BLOCK] for begin in range(0, flat.size, _BLOCK))
    return float(sum(float(np.vdot(block, block)) for block in blocks))
