"""Ways to get a derivative, a loss or an update wrong, each a function from the right thing to the wrong one."""

import random as python_random
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from funcnet import tree
from funcnet.layer import AnyLayer

Edit = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of a gradient, given dy


def edited(layer: AnyLayer, target: str, edit: Edit) -> AnyLayer:
    """The layer with one of its gradients, ``dx`` or that of a path in the parameters, edited."""

    def vjp(params: Any, residuals: Any, dy: np.ndarray, *, need_dx: bool = True) -> Any:
        dparams, dx = layer.pure_vjp(params, residuals, dy, need_dx=need_dx)
        if target == "dx":
            return dparams, None if dx is None else edit(dx, dy)
        return tree.map_named(lambda path, leaf: edit(leaf, dy) if path == target else leaf, dparams), dx

    return attrs.evolve(layer, vjp=vjp)


def one_entry_slightly(a: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """A relative error of 1e-4 in one entry: that of the median absolute value of those that are not zero."""
    flat = a.ravel().copy()
    order = np.argsort(np.abs(flat))
    order = order[flat[order] != 0]
    if order.size:
        flat[order[order.size // 2]] *= 1 + 1e-4
    return flat.reshape(a.shape)


# What is done to any gradient, and what the message must then say.
EDITS: dict[str, tuple[Edit, str]] = {
    "flipped sign": (lambda a, dy: -a, "ratio     -1, in every|likely    a flipped sign"),
    "factor of 2": (lambda a, dy: 2 * a, "a factor of 2 too many"),
    "mean over the batch": (lambda a, dy: a / max(1, len(dy)), "a factor of 1/3, the batch|mean over the batch"),
    "batch times too much": (lambda a, dy: a * len(dy), "a factor of 3, the batch"),
    "odd factor": (lambda a, dy: a * np.asarray(1.1, a.dtype), "a constant factor of 1.1"),
    "never computed": (lambda a, dy: np.zeros_like(a), "the gradient is zero"),
    "slight error in one entry": (one_entry_slightly, "1 of [0-9]+ entries"),
    "added constant": (lambda a, dy: a + np.asarray(0.01, a.dtype), "the gradient is not the derivative"),
    "another order": (lambda a, dy: np.roll(a, 1), "the right numbers in the wrong places|not the derivative"),
    "float64 from float32": (lambda a, dy: a * np.float64(1), "a dtype is wrong"),
    "an axis too many": (lambda a, dy: a[None], "axis too many|sum over the batch is missing|shape"),
}


def _with(layer: AnyLayer, **functions: Any) -> AnyLayer:
    return attrs.evolve(layer, **functions)


def stale_residuals(layer: AnyLayer) -> AnyLayer:
    """The vjp uses what the last forward kept, whichever that was."""
    last: list[Any] = []

    def forward(params: Any, x: np.ndarray) -> Any:
        y, residuals = layer.pure_forward(params, x)
        last[:] = [residuals]
        return y, residuals

    return _with(
        layer, forward=forward, vjp=lambda p, r, dy, need_dx=True: layer.pure_vjp(p, last[0], dy, need_dx=need_dx)
    )


def in_place_on_x(layer: AnyLayer) -> AnyLayer:
    def forward(params: Any, x: np.ndarray) -> Any:
        x *= 0.5
        return layer.pure_forward(params, x)

    return _with(layer, forward=forward)


def in_place_past_the_lock(layer: AnyLayer) -> AnyLayer:
    """Makes dy writable, overwrites it, and locks it again."""

    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        out = layer.pure_vjp(params, residuals, dy, need_dx=need_dx)
        if dy.flags.owndata:
            dy.flags.writeable = True
            dy *= 2
            dy.flags.writeable = False
        return out

    return _with(layer, vjp=vjp)


def global_randomness(layer: AnyLayer) -> AnyLayer:
    def forward(params: Any, x: np.ndarray) -> Any:
        np.random.random()  # noqa: NPY002 - drawn and not even used
        return layer.pure_forward(params, x)

    return _with(layer, forward=forward)


def pythons_randomness(layer: AnyLayer) -> AnyLayer:
    def forward(params: Any, x: np.ndarray) -> Any:
        y, residuals = layer.pure_forward(params, x)
        return (y * (1 + python_random.random())).astype(y.dtype), residuals

    return _with(layer, forward=forward)


def own_generator(layer: AnyLayer) -> AnyLayer:
    generator = np.random.default_rng(0)

    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        generator.standard_normal()
        return layer.pure_vjp(params, residuals, dy, need_dx=need_dx)

    return _with(layer, vjp=vjp)


def counting_calls(layer: AnyLayer) -> AnyLayer:
    calls = np.zeros(1, int)

    def forward(params: Any, x: np.ndarray) -> Any:
        calls[0] += 1
        return layer.pure_forward(params, x)

    return _with(layer, forward=forward)


def one_buffer_for_all(layer: AnyLayer) -> AnyLayer:
    """Outputs are written to the same memory in each call."""
    buffers: dict[Any, np.ndarray] = {}

    def forward(params: Any, x: np.ndarray) -> Any:
        y, residuals = layer.pure_forward(params, x)
        buffer = buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer.flags.writeable = True
        buffer[...] = y
        return tree.freeze(buffer), residuals

    return _with(layer, forward=forward)


def half_precision(layer: AnyLayer) -> AnyLayer:
    def forward(params: Any, x: np.ndarray) -> Any:
        y, residuals = layer.pure_forward(params, x)
        return y.astype(np.float16).astype(y.dtype), residuals

    return _with(layer, forward=forward)


def half_precision_in_float32(layer: AnyLayer) -> AnyLayer:
    def forward(params: Any, x: np.ndarray) -> Any:
        y, residuals = layer.pure_forward(params, x)
        return y.astype(np.float16).astype(y.dtype) if y.dtype == np.float32 else y, residuals

    return _with(layer, forward=forward)


def single_precision_always(layer: AnyLayer) -> AnyLayer:
    def forward(params: Any, x: np.ndarray) -> Any:
        y, residuals = layer.pure_forward(params, x)
        return y.astype(np.float32), residuals

    return _with(layer, forward=forward)


def no_dx(layer: AnyLayer) -> AnyLayer:
    return _with(layer, vjp=lambda p, r, dy, need_dx=True: (layer.pure_vjp(p, r, dy)[0], None))


def examples_mixed(layer: AnyLayer) -> AnyLayer:
    """Centres the outputs over the batch, with the right derivative of that."""

    def forward(params: Any, x: np.ndarray) -> Any:
        y, residuals = layer.pure_forward(params, x)
        return y - y.sum(axis=0) / max(1, len(y)), residuals

    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        return layer.pure_vjp(params, residuals, dy - dy.sum(axis=0) / max(1, len(dy)), need_dx=need_dx)

    return _with(layer, forward=forward, vjp=vjp)


def memory_order(layer: AnyLayer) -> AnyLayer:
    """Reads x as it lies in memory."""

    def forward(params: Any, x: np.ndarray) -> Any:
        return layer.pure_forward(params, tree.freeze(x.ravel(order="K").reshape(x.shape)))

    return _with(layer, forward=forward)


class Counter:
    """A layer's functions as methods of an object that remembers."""

    def __init__(self, layer: AnyLayer) -> None:
        self.layer, self.running = layer, 0.0

    def forward(self, params: Any, x: np.ndarray) -> Any:
        self.running = 0.9 * self.running + 0.1 * float(np.sum(x))
        return self.layer.pure_forward(params, x)


def running_mean(layer: AnyLayer) -> AnyLayer:
    return _with(layer, forward=Counter(layer).forward)


MEMORY = np.zeros(1)


def memory_of_an_inner_function(layer: AnyLayer) -> AnyLayer:
    def forward(params: Any, x: np.ndarray) -> Any:
        def remember() -> None:
            MEMORY[0] += 1

        remember()
        return layer.pure_forward(params, x)

    return _with(layer, forward=forward)


def randomness_without_dx(layer: AnyLayer) -> AnyLayer:
    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        if not need_dx:
            np.random.random()  # noqa: NPY002
        return layer.pure_vjp(params, residuals, dy, need_dx=need_dx)

    return _with(layer, vjp=vjp)


def wrong_out_shape(layer: AnyLayer) -> AnyLayer:
    return _with(layer, init=lambda key, shape: (layer.init(key, shape)[0], (*layer.init(key, shape)[1], 1)))


# What can be wrong with a layer whatever it computes, and what the message must then say.
LAYERS: dict[str, tuple[Callable[[AnyLayer], AnyLayer], str]] = {
    "stale residuals": (stale_residuals, "which forward ran last|later call changes|changes what it captured"),
    "in-place change of x": (in_place_on_x, "writes to an argument"),
    "in-place change of dy past its lock": (in_place_past_the_lock, "vjp changes its argument"),
    "global randomness": (global_randomness, "forward draws from a global random state"),
    "Python's randomness": (pythons_randomness, "forward gives other bits|draws from a global random state"),
    "a generator of its own": (own_generator, "vjp changes what it captured"),
    "counted calls": (counting_calls, "forward changes what it captured"),
    "one buffer for all calls": (one_buffer_for_all, "later call changes what an earlier one returned"),
    "half precision": (half_precision, "could not be differentiated|float32 is further|not the derivative|adjoint"),
    "half precision in float32": (half_precision_in_float32, "float32 is further from float64 than rounding explains"),
    "single precision always": (single_precision_always, "a dtype is wrong"),
    "no dx": (no_dx, "no dx"),
    "examples mixed": (examples_mixed, "not the sums of those of its parts|predict gives other numbers than forward"),
    "memory order": (memory_order, "how the inputs lie in memory"),
    "running mean": (running_mean, "forward changes what it captured"),
    "memory of an inner function": (memory_of_an_inner_function, "forward changes what it captured"),
    "randomness without dx": (randomness_without_dx, "vjp with need_dx=False draws from a global random state"),
    "wrong out_shape": (wrong_out_shape, "shape"),
}
