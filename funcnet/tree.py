"""Records as trees of arrays: map, leaves, paths, equality, norms.

A *tree* is an array (a leaf), ``None`` (nothing), a tuple of trees, or an attrs record whose fields are trees. Whole
numbers and strings in it, such as a shape, are part of its structure. Parameters, their gradients and the
trees in an optimizer's state have one structure, so an operation on them is one ``tree.map``.

Arrays that are not trained (running statistics, frozen layers) are part of the parameters. Their gradient is ``None``.
``trained`` replaces them by None. ``combine`` fills the places of None from another tree.

NumPy arrays inside records are read-only. ``freeze`` makes an array read-only that a function has just made.
``array_field`` declares a record's field that holds a read-only array. The arrays may be of any namespace. Records are
pytrees of JAX once JAX has been imported.
"""

from __future__ import annotations

import builtins
import functools
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import attrs
import numpy as np

from funcnet import aligned
from funcnet.arrays import is_array, namespace
from funcnet.shapes import Array, array_hint, kind_of

__all__ = [
    "Record",
    "Tree",
    "array_field",
    "combine",
    "describe_array",
    "equal",
    "expect_own",
    "freeze",
    "leaves",
    "map",
    "map_named",
    "named_leaves",
    "norm",
    "only",
    "readonly",
    "readonly_view",
    "static_field",
    "structure",
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
    """Require arrays that share memory with nothing else, so that a donating step may write to them.

    Raises:
        ValueError: for a view, or an array that occurs twice.
    """
    if len(set(builtins.map(id, arrays))) != len(arrays) or not all(builtins.map(aligned.is_own, arrays)):
        raise ValueError("a state that is given up needs arrays of its own (copy_state makes such a state)")


@contextmanager
def writable(arrays: Sequence[Array]) -> Iterator[None]:
    """A context in which the arrays are writable. The caller must own them: see ``expect_own``."""
    # setflags takes half the time of setting array.flags.writeable. The difference is 1/30 of a small network's step.
    try:
        for array in arrays:
            array.setflags(write=True)
        yield
    finally:
        for array in arrays:
            array.setflags(write=False)


def readonly(array: object) -> Array:
    """The array itself if nobody can write to it any more, else a read-only copy.

    Arrays of other namespaces are returned as they are: nothing writes to them.

    Raises:
        TypeError: for anything but an array.
    """
    if isinstance(array, np.generic):  # a NumPy scalar, as operations on 0-d arrays return
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
    hint = " (np.asarray makes an array of it)" if array_hint("it", value) else ""
    return TypeError(f"a record holds arrays, got {type(value).__name__}: {value!r:.80}{hint}")


def readonly_view(array: Array) -> Array:
    """A read-only view, without a copy. Records of data hold such views, since their arrays may be large.

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

    With ``trained=False`` the field is part of the parameters, but no optimizer updates it: see ``trained``.
    """
    converter = attrs.converters.optional(readonly)
    metadata = {"trained": trained}
    return attrs.field(converter=converter, eq=attrs.cmp_using(eq=_same), metadata=metadata, **options)


def static_field(**options: Any) -> Any:
    """A record's field that is part of its structure, such as a shape. JAX does not trace it."""
    return attrs.field(metadata={"static": True}, **options)


class Record:
    """The base class of attrs records with arrays. The arrays of copied and unpickled records are read-only too.

    Records are pytrees of JAX. All their types are registered when the first record is made after JAX was imported, and
    a new type when its first record is made.
    """

    __slots__ = ()

    def __attrs_pre_init__(self) -> None:
        if "jax" in sys.modules:
            record: Any = type(self)
            _register_all_with_jax(record)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A pickled NumPy array comes back writable. The record's own constructor makes it read-only again.
        record: type = type(self)
        return _record_of, (record, tuple(getattr(self, name) for name in _field_names(record) or ()))


@functools.cache
def _register_all_with_jax(new: type) -> None:
    """Register a record's type, and with it those of records that were made before JAX was imported."""
    types: list[type] = [Record]
    for record in types:
        types.extend(record.__subclasses__())
        if "__attrs_attrs__" in vars(record):
            _register_with_jax(record)


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
        # This bypasses the record's own converters: JAX puts placeholders in the places of arrays.
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
    """The record with these values of its fields, in order. They are passed by name: fields may be keyword-only."""
    return record(**dict(zip(_arguments(record), values, strict=True)))


@functools.cache
def _arguments(record: type) -> tuple[str, ...]:
    return tuple(field.alias for field in attrs.fields(record))


def _children(node: Tree, path: str) -> list[tuple[str, Tree]]:
    """The (path, child) pairs of a node that is not a leaf."""
    if node is None or isinstance(node, int | str):
        return []
    if isinstance(node, tuple):
        return [(f"{path}[{i}]", child) for i, child in enumerate(node)]
    record: type = type(node)
    if (names := _field_names(record)) is not None:
        dot = "." if path else ""
        return [(f"{path}{dot}{name}", getattr(node, name)) for name in names]
    raise TypeError(
        f"{path or 'the tree'} is {kind_of(node)}: a tree is made of arrays, tuples, attrs records and None"
    )


def map(f: Callable[..., Array], tree: T, *rest: Tree) -> T:
    """The tree of ``f(leaf, *leaves of rest)``, in the structure of ``tree``.

    Where ``tree`` has None, the result has None, whatever the other trees hold there. So pass gradients first and
    parameters after them. The arrays that ``f`` returns become part of the new tree and are made read-only.

    Raises:
        TypeError: where a node is not a tree.
        ValueError: where a tree of ``rest`` differs from ``tree`` in structure, naming the place.
    """
    return map_named(lambda path, *leaves: f(*leaves), tree, *rest)


def map_named(f: Callable[..., Array], tree: T, *rest: Tree) -> T:
    """As ``map``, with ``f(path, leaf, *leaves of rest)``."""
    return _map(f, "", tree, rest)


def _map(f: Callable[..., Array], path: str, node: Tree, others: tuple[Tree, ...]) -> Tree:
    if node is None:
        return None
    for other in others:
        _expect_same_node(path, node, other)
    if not isinstance(node, tuple):  # most nodes are tuples, and is_array is the slowest of the tests
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
    """The result of a mapped function as a read-only array. A given array, or a view, is not frozen itself."""
    if not isinstance(result, np.ndarray | np.generic | int | float | complex) and is_array(result):
        return result
    result = np.asarray(result)  # an operation on a 0-d array makes a scalar
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

    A path is what one writes after the tree's name to get the leaf. With ``name``, paths begin with it:
    ``params[1].weight``.
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
    # This builds no paths and makes no call for each leaf. A small network's step spends more time here than on sums.
    record: type = type(node)
    children: Iterable[Tree]
    if isinstance(node, tuple):
        children = node
    elif (names := _field_names(record)) is not None:
        children = [getattr(node, name) for name in names]
    elif is_array(node):
        children = (node,)
    else:
        _children(node, "")  # a part of the structure has no leaves; raises for anything else
        return
    for child in children:
        if is_array(child):
            found.append(child)
        elif child is not None:
            _find_leaves(child, found)


def structure(tree: Tree, name: str = "") -> dict[str, str]:
    """What is on each path, in words: ``float32 of shape (784, 10)``, ``nothing``, or a whole number or a text.

    With ``name``, paths begin with it.
    """
    if is_array(tree):
        return {name: describe_array(tree)}
    if tree is None or isinstance(tree, int | str):
        return {name: "nothing" if tree is None else repr(tree)}
    found: dict[str, str] = {}
    for path, child in _children(tree, name):
        found |= structure(child, path)
    return found


def describe_array(array: Array) -> str:
    """The dtype and the shape in words, the same for every namespace: ``float32 of shape (784, 10)``."""
    return f"{str(array.dtype).rpartition('.')[2]} of shape {tuple(array.shape)}"


def equal(a: Tree, b: Tree) -> bool:
    """Whether two trees have one structure and, leaf by leaf, the same dtype, shape and content."""
    same: list[bool] = []

    def compare(x: Array, y: Array) -> Array:
        same.append(_same(x, y))
        return x

    try:
        map(compare, a, b)
        map(compare, b, a)  # in both directions: map ignores what the second tree holds where the first has None
    except ValueError:
        return False
    return all(same)


def trained(tree: T) -> T:
    """The tree with None in place of all that is not trained: the structure of a gradient.

    Fields declared with ``array_field(trained=False)`` are not trained.
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


def only(tree: T, paths: Collection[str]) -> T:
    """The tree with None in place of each leaf whose path is not among these."""
    return _only("", tree, paths)


def _only(path: str, node: Tree, paths: Collection[str]) -> Tree:
    if is_array(node):
        return node if path in paths else None
    if node is None or isinstance(node, int | str):
        return node
    nodes = [_only(child_path, child, paths) for child_path, child in _children(node, path)]
    if isinstance(node, tuple):
        return tuple(nodes) if type(node) is tuple else type(node)(*nodes)
    return _record_of(type(node), nodes)


@functools.cache
def _fixed_names(record: type) -> frozenset[str]:
    """The fields that are not trained."""
    return frozenset(field.name for field in attrs.fields(record) if not field.metadata.get("trained", True))


def combine(new: T, old: T) -> T:
    """The tree of ``new``, with what ``old`` holds where ``new`` has None.

    So new values of what is trained join those of what is not.

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
    return math.sqrt(exact_sum([squared_norm(leaf.astype(np.float64)) for leaf in leaves(tree)]))


def squared_norm(array: Array) -> float:
    """The sum of the squares of an array's entries, by BLAS in one pass over memory, without a copy."""
    flat = array.ravel(order="K")
    # The sums of blocks are added up in float64: one float32 sum over millions of entries is off by a thousandth.
    blocks = (flat[begin : begin + _BLOCK] for begin in range(0, flat.size, _BLOCK))
    return float(sum(float(np.vdot(block, block)) for block in blocks))


def exact_sum(values: Sequence[float]) -> float:
    """The sum, rounded once. It is infinite or NaN where the sum of floats is."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # fsum raises where it grows beyond all floats, or meets inf and -inf
        return sum(values)
