"""Networks as text: which of funcnet's own functions made each layer, with which arguments.

    {"chain": {"layers": [{"flatten": {}}, {"linear": {"width": 10, "bias": true, "init": "he"}}]}}

An initializer with options is written as a layer is: ``{"constant": {"value": 0.1}}``. The values of ``given`` are not
described.

A description is read by calling these functions. A name that is none of theirs is refused, so a file can call nothing
else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs

from funcnet.arrays import is_array
from funcnet.combinators import chain, checkpoint, frozen, parallel, repeat, residual
from funcnet.layer import AnyLayer, Layer
from funcnet.layers.activations import elu, leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.bias import bias
from funcnet.layers.conv import conv1d, conv2d, conv_transpose2d, depthwise_conv2d
from funcnet.layers.dropout import dropout
from funcnet.layers.gated import gelu, hard_swish, mish, silu
from funcnet.layers.group_norm import group_norm, instance_norm
from funcnet.layers.initializers import (
    Initializer,
    constant,
    dirac,
    fan_in_uniform,
    given,
    glorot,
    he,
    lecun,
    orthogonal,
    truncated_normal,
    zeros,
)
from funcnet.layers.layer_norm import layer_norm, rms_norm
from funcnet.layers.linear import linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.pool import avg_pool2d, global_avg_pool, global_max_pool, max_pool2d
from funcnet.layers.prelu import prelu
from funcnet.layers.reshape import flatten, identity, reshape, transpose
from funcnet.layers.scaling import scaling
from funcnet.layers.softmax import log_softmax
from funcnet.layers.upsample import upsample2d
from funcnet.shapes import Array
from funcnet.views import average_views

__all__ = ["describe", "make"]

# A new layer, combinator or initializer is entered here.
_MAKERS: Mapping[str, Callable[..., AnyLayer]] = {
    "average_views": average_views, "avg_pool2d": avg_pool2d, "batch_norm": batch_norm, "bias": bias, "chain": chain,
    "checkpoint": checkpoint,
    "conv1d": conv1d, "conv2d": conv2d, "conv_transpose2d": conv_transpose2d, "depthwise_conv2d": depthwise_conv2d,
    "dropout": dropout, "elu": elu, "flatten": flatten, "frozen": frozen, "gelu": gelu,
    "global_avg_pool": global_avg_pool, "global_max_pool": global_max_pool, "group_norm": group_norm,
    "hard_swish": hard_swish, "identity": identity, "instance_norm": instance_norm, "layer_norm": layer_norm,
    "leaky_relu": leaky_relu, "linear": linear, "log_softmax": log_softmax, "max_pool2d": max_pool2d, "mish": mish,
    "parallel": parallel, "prelu": prelu, "relu": relu, "repeat": repeat, "reshape": reshape, "residual": residual,
    "rms_norm": rms_norm, "scaling": scaling, "sigmoid": sigmoid, "silu": silu, "softplus": softplus, "tanh": tanh,
    "transpose": transpose, "upsample2d": upsample2d,
}  # fmt: skip
_INITIALIZERS: Mapping[str, Callable[..., Array]] = {
    "constant": constant, "dirac": dirac, "fan_in_uniform": fan_in_uniform, "glorot": glorot, "he": he, "lecun": lecun,
    "orthogonal": orthogonal, "truncated_normal": truncated_normal, "zeros": zeros,
}  # fmt: skip


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
    if is_array(one) or is_array(other):
        return False  # one array is never taken for another
    return type(one) is type(other) and bool(one == other)


def _described(layer: AnyLayer, value: Any) -> Any:
    if isinstance(value, Layer):
        return describe(value)
    if isinstance(value, tuple | list):
        return [_described(layer, entry) for entry in value]
    if value is None or isinstance(value, int | float | str):
        return value
    return _initializer_described(layer, value)


def _initializer_described(layer: AnyLayer, init: Any) -> Any:
    made = partial(init) if callable(init) else partial(Layer)
    if made.func is given:
        return "given"
    name = next((name for name, known in _INITIALIZERS.items() if known is made.func), None)
    if name is None or made.args:
        raise ValueError(f"an argument of {layer} is none of funcnet's own initializers: {init!r:.60}")
    options = {option: _described(layer, value) for option, value in made.keywords.items()}
    return {name: options} if options else name


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
    parameters = inspect.signature(_MAKERS[name]).parameters.values()
    several = next((parameter.name for parameter in parameters if parameter.kind is parameter.VAR_POSITIONAL), "")
    return _MAKERS[name](*made.pop(several, ()), **made)


def _made(argument: str, value: Any) -> Any:
    if argument == "init":
        return _initializer(value)
    if isinstance(value, dict):
        return make(value)
    if isinstance(value, list):
        return [_made(argument, entry) for entry in value]
    return value


def _initializer(value: Any) -> Initializer:
    if value == "given":
        return partial(given, values=None)
    name, options = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (value, {})
    if not isinstance(name, str) or name not in _INITIALIZERS or not isinstance(options, dict):
        raise ValueError(f"there is no initializer {value!r:.60}; there are {', '.join(_INITIALIZERS)}")
    parameters = inspect.signature(_INITIALIZERS[name]).parameters
    made = {option: _initializer(entry) if option == "rest" else entry for option, entry in options.items()}
    for option, entry in made.items():
        known = option in parameters and parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
        if not known or not (option == "rest" or isinstance(entry, int | float)):
            raise ValueError(f"{name} has no option {option!r:.60} of {entry!r:.60}")
    return partial(_INITIALIZERS[name], **made) if made else _INITIALIZERS[name]
