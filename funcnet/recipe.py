"""Networks as text: which of funcnet's own functions made each layer, with which arguments.

    {"chain": {"layers": [{"flatten": {}}, {"linear": {"width": 10, "bias": true, "init": "he"}}]}}

A description is read by calling these functions. A name that is none of theirs is refused, so a file can call nothing
else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs

from funcnet.combinators import chain, frozen, parallel, residual
from funcnet.layer import AnyLayer, Layer
from funcnet.layers.activations import gelu, leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.conv import conv1d, conv2d, conv_transpose2d, depthwise_conv2d
from funcnet.layers.dropout import dropout
from funcnet.layers.initializers import glorot, he
from funcnet.layers.linear import linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.pool import avg_pool2d, global_avg_pool, global_max_pool, max_pool2d
from funcnet.layers.reshape import flatten, identity
from funcnet.views import average_views

__all__ = ["describe", "make"]

# A new layer, combinator or initializer is entered here.
_MAKERS: Mapping[str, Callable[..., AnyLayer]] = {
    "average_views": average_views, "avg_pool2d": avg_pool2d, "batch_norm": batch_norm, "chain": chain,
    "conv1d": conv1d, "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d, "depthwise_conv2d": depthwise_conv2d, "dropout": dropout, "flatten": flatten,
    "frozen": frozen, "gelu": gelu, "global_avg_pool": global_avg_pool, "global_max_pool": global_max_pool,
    "identity": identity, "leaky_relu": leaky_relu, "linear": linear, "max_pool2d": max_pool2d, "parallel": parallel,
    "relu": relu, "residual": residual, "sigmoid": sigmoid, "softplus": softplus, "tanh": tanh,
}  # fmt: skip
_INITIALIZERS = {"glorot": glorot, "he": he}


def describe(layer: AnyLayer) -> dict[str, Any]:
    """The description from which ``make`` makes the same layer.

    Raises:
        ValueError: for a layer that is none of funcnet's own, or one of which a field was replaced.
    """
    recipe = partial(layer.recipe or Layer)
    name = next((name for name, maker in _MAKERS.items() if maker is recipe.func), None)
    if name is None:
        raise ValueError(f"{layer} is none of funcnet's own layers")
    if not _same(layer, recipe()):
        raise ValueError(f"{layer} is no longer what {name}() made: a field was replaced")
    arguments = inspect.signature(recipe.func).bind(*recipe.args, **recipe.keywords).arguments
    return {name: {argument: _described(layer, value) for argument, value in arguments.items()}}


def _same(one: Any, other: Any) -> bool:
    """Whether two layers have the same functions with the same arguments bound. Layers inside are mostly the same."""
    if one is other:
        return True
    if isinstance(one, Layer) and isinstance(other, Layer):
        names = [field.name for field in attrs.fields(Layer) if field.name != "recipe"]
        return all(_same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, partial) and isinstance(other, partial):
        return _same((one.func, one.args, one.keywords), (other.func, other.args, other.keywords))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other)


def _described(layer: AnyLayer, value: Any) -> Any:
    if isinstance(value, Layer):
        return describe(value)
    if isinstance(value, tuple | list):
        return [_described(layer, entry) for entry in value]
    if value is None or isinstance(value, int | float | str):
        return value
    if (name := next((name for name, known in _INITIALIZERS.items() if known is value), None)) is None:
        raise ValueError(f"an argument of {layer} is none of funcnet's own initializers: {value!r:.60}")
    return name


def make(description: Any) -> AnyLayer:
    """The layer that ``describe`` described.

    Raises:
        ValueError, TypeError: for anything else.
    """
    if not isinstance(description, dict) or len(description) != 1:
        raise ValueError(f"expected the description of a layer, found {description!r:.60}")
    ((name, arguments),) = description.items()
    if name not in _MAKERS or not isinstance(arguments, dict):
        raise ValueError(f"there is no layer {name!r:.60} of these arguments; there are {', '.join(_MAKERS)}")
    made = {argument: _made(argument, value) for argument, value in arguments.items()}
    return _MAKERS[name](*made.pop("layers", ()), **made)


def _made(argument: str, value: Any) -> Any:
    if isinstance(value, dict):
        return make(value)
    if isinstance(value, list):
        return [_made(argument, entry) for entry in value]
    if argument == "init":
        if value not in _INITIALIZERS:
            raise ValueError(f"there is no initializer {value!r:.60}; there are {', '.join(_INITIALIZERS)}")
        return _INITIALIZERS[value]
    return value
