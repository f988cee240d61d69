import functools
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest

from funcnet.check import CheckError
from funcnet.check.purity import call_purely, expect_unshared, state
from funcnet.check.verdict import Claim
from funcnet.random import make_key

CLAIM = Claim("f", "one array", make_key(0), "check(f)")
TABLE = np.zeros(2)


def refuses(function: Callable[..., Any], said: str, **arguments: Any) -> None:
    with pytest.raises(CheckError, match=said):
        call_purely(CLAIM, "f", function, arguments)


def test_a_pure_function_gives_its_result() -> None:
    assert call_purely(CLAIM, "f", lambda x: x + 1, {"x": np.ones(2)}).tolist() == [2, 2]


def test_a_change_of_an_argument_is_named() -> None:
    refuses(lambda x, y: y.__imul__(2), "f changes its argument\n  where     y", x=np.ones(2), y=np.ones(2))
    refuses(lambda x: x["a"].__imul__(2), "where     x.a", x={"a": np.ones(2)})
    locked = np.ones(2)
    locked.flags.writeable = False
    refuses(lambda x: np.add(x, 1, out=x), "writes to an argument", x=locked)


def test_what_is_captured_is_watched() -> None:
    array, counter = np.zeros(1), {"calls": 0}

    def of_closure(x: float) -> float:
        array[0] += 1
        return x

    def of_dict(x: float) -> float:
        counter["calls"] += 1
        return x

    def of_default(x: float, memory: Any = [0.0]) -> float:  # noqa: B006
        memory[0] += x
        return x

    def of_module(x: float) -> float:
        TABLE[0] += 1
        return x

    class Caller:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, x: float) -> float:
            self.calls += 1
            return x

        def method(self, x: float) -> float:
            self.calls += 1
            return x

    def outer(x: float) -> float:
        return of_closure(x)

    for function in (
        of_closure, of_dict, of_default, of_module, Caller(), Caller().method, outer, functools.partial(of_default),
    ):  # fmt: skip
        refuses(function, "f changes what it captured", x=1.0)


def test_a_cache_that_only_grows_is_no_harm() -> None:
    cache: dict[float, float] = {}
    assert call_purely(CLAIM, "f", lambda x: cache.setdefault(x, 2 * x), {"x": 3.0}) == 6


def test_a_number_drawn_from_the_global_state_is_missed_there_though_nobody_uses_it() -> None:
    before = np.random.get_state()  # noqa: NPY002

    def drawing(x: float) -> float:
        np.random.random()  # noqa: NPY002
        return x

    try:
        refuses(drawing, "global random", x=1.0)
    finally:
        np.random.set_state(before)  # noqa: NPY002


def test_results_that_differ_are_noticed() -> None:
    calls = iter([1.0, 2.0])
    refuses(lambda x: next(calls) * x, "other bits the second time", x=1.0)


def test_shared_memory_counts_only_where_it_can_be_written_to() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(CheckError, match="writable array that shares its memory\n  where     y with x"):
        expect_unshared(CLAIM, "f", {"y": x.T}, {"x": x})
    view = x.T
    view.flags.writeable = False
    expect_unshared(CLAIM, "f", {"y": view}, {"x": x})
    expect_unshared(CLAIM, "f", {"y": x.copy()}, {"x": x})


def test_errors_of_the_function_itself_are_passed_on() -> None:
    with pytest.raises(ZeroDivisionError):
        call_purely(CLAIM, "f", lambda x: x / 0, {"x": 1})
    with pytest.raises(ValueError, match="something else"):
        call_purely(CLAIM, "f", lambda x: (_ for _ in ()).throw(ValueError("something else")), {"x": 1})


def test_states_tell_apart_what_looks_alike() -> None:
    @attrs.frozen
    class Record:
        a: Any
        b: Any = None

    assert state(Record(np.zeros(2)))["a"] == np.zeros(2).tobytes()
    assert state([np.float32(1)]) != state([np.float32(2)])
    a, b = np.random.default_rng(0), np.random.default_rng(0)
    assert state({"g": a}) == state({"g": b})
    b.random()
    assert state({"g": a}) != state({"g": b})
