"""Work on many images, divided among the cores.

    on_all_cores(f, count)        f(begin, end) for contiguous parts of range(count), a part a core, at the same time
    scratch(name, shape, dtype)   memory of this core's own, for f; the next call with this name uses it again

NumPy copies, adds and compares on one core, and OpenBLAS divides each product among all. A convolution copies as much
as it multiplies. So here each core takes images of its own, and copies and multiplies by itself: what it copied lies in
its own cache when the product needs it. Meanwhile BLAS has one thread, since its waiting threads would take the cores
from the others.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from funcnet.arrays import shielded
from funcnet.engines.numpy.blas.routines import numpys_library
from funcnet.shapes import Array, Shape

__all__ = ["blocks", "on_all_cores", "one_blas_thread", "scratch", "shares", "total_of"]


def on_all_cores(f: Callable[[int, int], object], count: int) -> None:
    """Call ``f(begin, end)`` for parts of ``range(count)``, on all cores, and wait for all of them.

    f may write to what is its part's own. An error of f is raised here, after all parts have ended.
    """
    parts = shares(count)
    if len(parts) < 2:
        f(0, count)
        return
    run = shielded(f)  # what is ignored of floating-point errors is said thread by thread
    with one_blas_thread():
        others = [_threads().submit(run, *part) for part in parts[1:]]
        try:
            run(*parts[0])
        finally:
            wait(others)
        for other in others:
            other.result()


def shares(count: int) -> list[tuple[int, int]]:
    """The parts, in order: as many as BLAS has threads, but none that is empty."""
    parts = min(count, _BLAS.threads())
    ends = [count * part // parts for part in range(1, parts + 1)]
    return list(zip([0, *ends[:-1]], ends, strict=True)) if parts else []


def blocks(begin: int, end: int, length: int) -> Iterator[slice]:
    """The places from begin to end, in slices of this length; the last one may be shorter."""
    return (slice(first, min(first + length, end)) for first in range(begin, end, length))


_memory = threading.local()


def scratch(name: str, shape: Shape, dtype: np.dtype) -> Array:
    """An array of this thread's own, whose contents mean nothing.

    New memory costs more than the arithmetic on it: the system clears its pages, and the threads wait for each other
    meanwhile.
    """
    size = math.prod(shape) * dtype.itemsize
    kept: Array | None = getattr(_memory, name, None)
    if kept is None or kept.size < size:
        kept = np.empty(size, np.uint8)
        setattr(_memory, name, kept)
    return kept[:size].view(dtype).reshape(shape)


def total_of(sums: Iterable[Array], like: Array) -> Array:
    """The sum of what each part has summed up, in the order of the parts; zeros if there were no parts."""
    return functools.reduce(np.add, sums, np.zeros_like(like))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="funcnet")


os.register_at_fork(after_in_child=_threads.cache_clear)  # threads do not outlive a fork


class _Blas:
    """The threads of NumPy's OpenBLAS. Another BLAS is left as it is, and counts as one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers = 0  # those that need it on one thread now
        self._before = 1  # its threads before the first of them came

    @functools.cached_property
    def _control(self) -> Any:
        from threadpoolctl import ThreadpoolController

        path = numpys_library()
        controls = ThreadpoolController().lib_controllers
        return None if path is None else next((one for one in controls if one.filepath == path.path), None)

    def threads(self) -> int:
        """How many threads BLAS has, when nobody needs it on one."""
        if self._control is None:
            return 1
        return self._before if self._callers else int(self._control.get_num_threads())

    @contextmanager
    def on_one_thread(self) -> Iterator[None]:
        if self._control is None:
            yield
            return
        with self._lock:
            if not self._callers:
                self._before = self._control.get_num_threads()
                self._control.set_num_threads(1)
            self._callers += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers -= 1
                if not self._callers:
                    self._control.set_num_threads(self._before)


_BLAS = _Blas()


def one_blas_thread() -> AbstractContextManager[None]:
    """BLAS has one thread within, until the last of those who asked for it has ended.

    After a product in several threads, those of BLAS wait in a loop for the next one, for milliseconds. Meanwhile they
    take the cores from ``on_all_cores``. So a step that divides its work by images has this around all of it.
    """
    return _BLAS.on_one_thread()
