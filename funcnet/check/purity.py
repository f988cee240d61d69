"""Whether a function is pure: it must not change arguments, keep state, draw global randomness or share memory."""

from __future__ import annotations

import functools
import random as python_random
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, TypeAlias, TypeVar

import attrs
import numpy as np

from funcnet.check.verdict import Claim

__all__ = ["PURITY", "State", "call_purely", "expect_unshared", "same_bits", "state"]

T = TypeVar("T")
State: TypeAlias = dict[str, bytes | str]

PURITY = "purity: arguments, captured arrays, hidden state and randomness, shared memory"

_IN_PLACE = "work in place on an array that was not made here"

_KEPT = "what is kept as a residual is returned too: make it read-only first (tree.freeze)"
_VIEW = "an array that was not made here, or a view of it: return it read-only, or a copy"


def call_purely(claim: Claim, what: str, function: Callable[..., T], arguments: Mapping[str, Any]) -> T:
    """``function(*arguments.values())``, refuting the claim if the call shows that the function is not pure.

    The arguments and whatever the function captured must be the same afterwards, bit for bit, and so must the global
    random states; and a second call must give the same bits. ``what`` is how messages call the function.

    Raises:
        CheckError: naming what was changed.
    """
    before, captured, drawn = state(arguments), state(function), _global_random_state()
    try:
        result, again = function(*arguments.values()), function(*arguments.values())
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise claim.refuted(
            f"{what} writes to an argument, or to another finished array", detail=f"NumPy: {error}", cause=_IN_PLACE
        ) from error
    if _global_random_state() != drawn:
        raise claim.refuted(f"{what} draws from a global random state", cause="np.random or random instead of a key")
    if changed := _changed(before, state(arguments)):
        raise claim.refuted(f"{what} changes its argument", where=changed, cause=_IN_PLACE)
    if changed := _changed(captured, state(function)):
        raise claim.refuted(
            f"{what} changes what it captured", where=changed, cause="hidden state: a call should be given all it needs"
        )
    same_bits(
        claim,
        f"{what} gives other bits the second time",
        state({"result": result}),
        state({"result": again}),
        "hidden state or hidden randomness",
    )
    return result


def same_bits(claim: Claim, broken: str, before: State, after: State, cause: str) -> None:
    """Refute the claim, as ``broken``, unless the two states are the same."""
    if changed := _changed(before, after):
        raise claim.refuted(broken, where=changed, cause=cause)


def expect_unshared(
    claim: Claim, what: str, results: Mapping[str, Any], others: Mapping[str, Any], cause: str | None = None
) -> None:
    """Refute the claim if writing to one of the results would change one of the others."""
    for path, result in _walk(results):
        for other_path, other in _walk(others):
            arrays = isinstance(result, np.ndarray) and isinstance(other, np.ndarray)
            if arrays and result.flags.writeable and np.shares_memory(result, other):
                raise claim.refuted(
                    f"{what} returns a writable array that shares its memory",
                    where=f"{path} with {other_path}",
                    cause=cause or (_KEPT if other_path.startswith("residuals") else _VIEW),
                )


def state(node: Any) -> State:
    """All that can change in ``node``, by path: its arrays, numbers and random generators.

    Looks into tuples, lists, dicts and records, and into what functions have captured in closures, defaults and the
    global names of their own module.
    """
    return {path: leaf.tobytes() if isinstance(leaf, np.ndarray) else repr(leaf) for path, leaf in _walk(node)}


def _changed(before: State, after: State) -> str | None:
    """The first path whose content changed. What was only added, to a cache say, does no harm."""
    return next((path for path, content in before.items() if after.get(path) != content), None)


def _walk(node: Any, path: str = "", seen: dict[int, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Every array, number and random generator within, with its path."""
    seen = {} if seen is None else seen  # holds the nodes, so that their ids are not used again
    if isinstance(node, np.ndarray | np.generic | int | float | complex):
        yield path, node
    elif isinstance(node, np.random.Generator):
        yield path, node.bit_generator.state
    elif isinstance(node, np.random.RandomState):
        yield path, node.get_state(legacy=False)
    elif isinstance(node, python_random.Random):
        yield path, node.getstate()
    elif id(node) not in seen:
        seen[id(node)] = node
        for name, child in _children(node):
            yield from _walk(child, (path + name).lstrip("."), seen)


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, Mapping):
        return [(f".{name}", child) for name, child in node.items()]
    if isinstance(node, tuple | list):
        return [(f"[{i}]", child) for i, child in enumerate(node)]
    if isinstance(node, FunctionType):
        return _captured(node)
    if isinstance(node, MethodType):
        return [(".self", node.__self__), ("", node.__func__)]
    if isinstance(node, functools.partial):
        return [("", node.func), (".args", node.args), (".keywords", node.keywords)]
    if isinstance(node, type | ModuleType):
        return []
    if attrs.has(type(node)):
        return [(f".{field.name}", getattr(node, field.name)) for field in attrs.fields(type(node))]
    if type(node).__module__.split(".")[0] in _FOREIGN and not isinstance(node, SimpleNamespace):
        return []
    slots = [name for name in getattr(type(node), "__slots__", ()) if hasattr(node, name)]
    return [(f".{name}", getattr(node, name)) for name in (*getattr(node, "__dict__", ()), *slots)]


# Modules whose objects are not walked: they are no part of a layer.
_ANNOTATIONS = {"beartype", "jaxtyping"}  # their wrappers check arguments, and are not walked
_FOREIGN = {*sys.stdlib_module_names, "numpy", *_ANNOTATIONS}


def _captured(function: FunctionType) -> list[tuple[str, Any]]:
    if function.__globals__.get("__name__", "").partition(".")[0] in _ANNOTATIONS:
        return [("", getattr(function, "__wrapped__", None))]
    code = function.__code__
    found = [(".defaults", function.__defaults__), (".defaults", function.__kwdefaults__)]
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            found.append((f".{name}", cell.cell_contents))
        except ValueError:  # a name that was not assigned yet
            continue
    for name in _names(code):
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType) and value.__module__ != function.__module__:
            continue
        if not isinstance(value, type | ModuleType | str | None):
            found.append((f".{name}", value))
    return found


def _names(code: CodeType) -> list[str]:
    """The global names in a function and in those defined within it."""
    inner = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _names(constant)]
    return [*code.co_names, *inner]


def _global_random_state() -> tuple[object, ...]:
    numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    # beartype draws from Python's generator itself. With it, only results that differ show hidden randomness.
    python_state = None if "beartype" in sys.modules else python_random.getstate()
    return numpy_state["key"].tobytes(), numpy_state["pos"], python_state
