"""The door: the one module that checks what layers and losses are given, before any arithmetic.

A layer declares what it takes in the annotations of its functions and of its records:

    class LinearParams:  weight: Float[Array, "in out"],  bias: Float[Array, "out"] | None
    def forward(params: LinearParams, x: Float[Array, "batch in"]) -> ...

A name of an axis stands for one length throughout a call. The lengths in ``known={"out": 10}`` come first, then those
of the params, then those of the residuals, then those of x or dy. Each array must fit the lengths before it. So a
message can tell params of another network from an input of another width. A user's layer without annotations is checked
for arrays with a batch axis only.

The methods of layers and losses call this module. Combinators and engines call the pure functions, which check nothing.
Prepared objects, such as a step, check once for each shape that they meet (``expect_fit``). All calls ignore NumPy's
floating-point errors, whatever ``np.errstate`` the caller has set. Returned arrays are read-only.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
import numpy as np

from funcnet import tree
from funcnet.arrays import is_array, namespace
from funcnet.random import Key, expect_key
from funcnet.shapes import (
    Array,
    Shape,
    ShapeError,
    converted,
    describe,
    expect_float,
    is_plain,
    kind_of,
    no_floats,
    not_an_array,
)

if TYPE_CHECKING:
    from funcnet.layer import AnyLayer
    from funcnet.losses import Loss
    from funcnet.penalties import Penalty

__all__ = [
    "accuracy", "advance", "base", "expect_fit", "expect_labels", "expect_targets", "forward", "loss", "params_record",
    "penalty", "penalty_value", "predict", "returned_by_loss", "share", "takes_weights", "vjp",
]  # fmt: skip

_OTHERS = "(the params of another network?)"


def forward(layer: AnyLayer, params: Any, x: Array, key: Key | None = None) -> tuple[Array, Any]:
    """Check the arguments and call the layer's forward."""
    _expect_input(layer, params, x)
    _expect_key(layer, key)
    with np.errstate(all="ignore"):
        checking = _checking(layer)
        made = checking.pure_forward(params, x, key) if layer.draws else checking.pure_forward(params, x)
    y, residuals = _pair(layer, "forward", made, "(y, residuals)")
    return _locked(y), residuals


def vjp(layer: AnyLayer, params: Any, residuals: Any, dy: Array, need_dx: bool) -> tuple[Any, Array | None]:
    """Check the arguments and call the layer's vjp."""
    _expect_cotangent(layer, params, residuals, dy)
    with np.errstate(all="ignore"):
        made = _checking(layer).pure_vjp(params, residuals, dy, need_dx=need_dx)
    dparams, dx = _pair(layer, "vjp", made, "(dparams, dx)")
    with suppress(TypeError):  # dparams that are not a tree are reported where they are used
        dparams = tree.map(lambda leaf: leaf, dparams)  # read-only
    return dparams, _locked(dx)


def predict(layer: AnyLayer, params: Any, x: Array) -> Array:
    """Check the arguments and call the layer's predict."""
    _expect_input(layer, params, x)
    with np.errstate(all="ignore"):
        checking = _checking(layer)
        if checking.pure_predict is not None:
            return _locked(checking.pure_predict(params, x))
        return _locked(_pair(layer, "forward", checking.pure_forward(params, x), "(y, residuals)")[0])


def advance(layer: AnyLayer, params: Any, residuals: Any) -> Any:
    """Call the layer's advance. NumPy's floating-point errors are ignored."""
    with np.errstate(all="ignore"):
        return params if layer.pure_advance is None else layer.pure_advance(params, residuals)


def expect_fit(layer: AnyLayer, params: Any, x: Array) -> None:
    """Require that the network takes these params, and examples of the shape of those in x.

    The first example goes through the network, and every layer is checked.

    Raises:
        ShapeError: naming the layer by its place.
    """
    _expect_input(layer, params, x)
    predict(layer, params, x if x.ndim < 2 else x[:1, ...])


def _pair(layer: AnyLayer, what: str, made: Any, wanted: str) -> tuple[Any, Any]:
    if not isinstance(made, tuple) or len(made) != 2:
        raise TypeError(f"the {what} of {layer} does not return {wanted}, but {kind_of(made)}")
    return made


def _locked(array: Any) -> Any:
    """The array, read-only: a view of it, so that nobody's own array is frozen."""
    if isinstance(array, np.ndarray) and array.flags.writeable:
        array = array.view()
        array.setflags(write=False)
    return array


def _expect_key(layer: AnyLayer, key: object) -> None:
    if not layer.draws:
        return
    if key is None:
        raise TypeError(f"{layer} draws random numbers: forward(params, x, key) takes a key, such as make_key(0)")
    if not is_array(key):  # a key of jax.random is an array
        expect_key(key)


# --- networks: every layer inside is checked too

_CHECKING: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _checking(layer: AnyLayer) -> AnyLayer:
    """The same composition, with children that check their arguments and name their place in messages."""
    if not layer.children or layer.remake is None:
        return layer
    found = _CHECKING.get(layer)
    if found is None:
        name = _short_name(layer)
        made = layer.remake(tuple(_at_the_door(f"{name}{path}", child) for path, child in layer.children))
        # A function that a user put in the place of the combinator's own is kept.
        replaced = {
            alias: getattr(layer, field)
            for alias, field in (("forward", "pure_forward"), ("vjp", "pure_vjp"), ("predict", "pure_predict"))
            if base(getattr(layer, field)) is not base(getattr(made, field))
        }
        found = _CHECKING[layer] = attrs.evolve(made, **replaced)
    return found


def _at_the_door(place: str, child: AnyLayer) -> AnyLayer:
    return attrs.evolve(
        child,
        forward=partial(_inside, place, partial(forward, child)),
        vjp=partial(_inside, place, partial(_child_vjp, place, child)),
        predict=partial(_inside, place, partial(predict, child)),
        children=(),
        frozen=None,
    )


def _child_vjp(
    place: str, child: AnyLayer, params: Any, residuals: Any, dy: Array, *, need_dx: bool = True
) -> tuple[Any, Array | None]:
    dparams, dx = vjp(child, params, residuals, dy, need_dx)
    if need_dx and dx is None:
        raise TypeError(f"the vjp of {place}.{child} returned no dx, which was asked for")
    return dparams, dx


def _inside(place: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except ShapeError as error:
        raise error.inside(place) from None


# --- one layer


@attrs.frozen
class _Dims:
    """An annotation such as ``Float[Array, "batch in"]``: kinds of numbers, and names or lengths of axes."""

    kinds: str
    axes: tuple[str, ...]
    optional: bool = False


_KINDS = {"Float": "fc", "Integer": "iu", "Num": "fciu", "UInt8": "u"}
_ANNOTATION = re.compile(r"(?:\w+\.)*(\w+)\[[\w.]+, ['\"]([^'\"]*)['\"]\](\s*\|\s*None)?")


def _dims(annotation: Any) -> _Dims | None:
    if isinstance(annotation, str):
        if (found := _ANNOTATION.fullmatch(annotation)) is None:
            return None
        kind, axes, optional = found.groups()
        return _Dims(_KINDS.get(kind, "fciub"), tuple(axes.split()), bool(optional))
    axes = getattr(annotation, "dim_str", None)  # an annotation that was evaluated, not a string
    kind = getattr(getattr(annotation, "dtype", None), "__name__", "")
    return None if axes is None else _Dims(_KINDS.get(kind, "fciub"), tuple(axes.split()))


@lru_cache(512)
def _declared(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function's arguments: axes, or a type."""
    function = inspect.unwrap(function)
    declared: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        dims = _dims(annotation)
        if dims is not None:
            declared[name] = dims
        elif isinstance(annotation, type):
            declared[name] = annotation
        elif annotation == "tuple[()]":
            declared[name] = ()
        elif isinstance(annotation, str):
            declared[name] = getattr(function, "__globals__", {}).get(annotation)
    return declared


def params_record(layer: AnyLayer) -> Any:
    """The type of a layer's params, by the annotation of its forward; ``()`` for none, None where it is not known."""
    return _declared(base(layer.pure_forward)).get("params")


def base(function: Any) -> Any:
    """The function behind ``functools.partial``."""
    while isinstance(function, partial):
        function = function.func
    return function


def _fields_of(node: Any) -> tuple[tuple[str, _Dims], ...]:
    record: Any = type(node)
    return _fields(record)


@lru_cache(512)
def _fields(record: Any) -> tuple[tuple[str, _Dims], ...]:
    found = ((field.name, _dims(field.type)) for field in attrs.fields(record)) if attrs.has(record) else ()
    return tuple((name, dims) for name, dims in found if dims is not None)


@attrs.define
class _Fit:
    """What is known of one call so far: lengths by their names, and the dtype of its floating-point numbers."""

    place: str
    lengths: dict[str, Any]
    dtype: Any = None
    of_params: bool = False

    def expect(self, name: str, array: Any, dims: _Dims, hint: Callable[[Array, tuple[Any, ...]], str]) -> None:
        """Require an array that fits what is known so far. Its lengths and dtype are known from then on."""
        if not is_plain(array):
            raise not_an_array(self.place, name, array)
        wanted = self._wanted(dims.axes)
        if not self._bind(dims.axes, tuple(array.shape)):
            given = f"shape {describe(array.shape)}{hint(array, wanted)}"
            raise ShapeError(self.place, f"{name} of shape {describe(wanted)}", given)
        if isinstance(array, np.ndarray) and array.dtype.kind not in dims.kinds:
            if dims.kinds.startswith("f"):
                raise no_floats(self.place, name, array)
            raise ShapeError(self.place, f"{name} of an integer dtype", f"dtype {array.dtype}")
        if dims.kinds.startswith("f"):
            if self.dtype is not None and array.dtype != self.dtype:
                raise self._wrong_dtype(name, array)
            self.dtype = array.dtype
            self.of_params |= name.startswith("params.")

    def _wrong_dtype(self, name: str, array: Array) -> ShapeError:
        wanted, given = f"{name} of dtype {self.dtype}", f"dtype {array.dtype}"
        if name.startswith("params."):
            return ShapeError(self.place, wanted, given)
        like = ", as the params" if self.of_params else ""
        return ShapeError(self.place, f"{wanted}{like}", f"{given} ({converted(name, self.dtype)}?)")

    def _wanted(self, axes: tuple[str, ...]) -> tuple[Any, ...]:
        shape: list[Any] = []
        for axis in axes:
            known = self.lengths.get(axis, "..." if axis.startswith("*") else axis)
            shape.extend(known if isinstance(known, tuple) else (known,))
        return tuple(shape)

    def _bind(self, axes: tuple[str, ...], shape: Shape) -> bool:
        many = next((place for place, axis in enumerate(axes) if axis == "..." or axis.startswith("*")), None)
        if many is None:
            return len(axes) == len(shape) and all(map(self._bind_one, axes, shape))
        after = len(axes) - many - 1
        if len(shape) < len(axes) - 1:
            return False
        middle = shape[many : len(shape) - after]
        before = all(map(self._bind_one, axes[:many], shape[:many]))
        fits = axes[many] == "..." or self._bind_one(axes[many], middle)
        return before and fits and all(map(self._bind_one, axes[many + 1 :], shape[len(shape) - after :]))

    def _bind_one(self, axis: str, length: Any) -> bool:
        if axis.isdecimal():
            return bool(int(axis) == length)
        if axis.startswith(("_", "*_")) or not axis.removeprefix("*").isidentifier():
            return True  # an axis of any length, or one that jaxtyping computes
        return bool(self.lengths.setdefault(axis, length) == length)


def _no_hint(array: Array, wanted: tuple[Any, ...]) -> str:
    return ""


def _hint_for_x(array: Array, wanted: tuple[Any, ...]) -> str:
    """A guess at what was forgotten, for an input that does not fit."""
    lengths = [length for length in wanted[1:] if isinstance(length, int)]
    if not lengths:
        return " (is the batch axis missing? x[None] is a batch of one)" if array.ndim == len(wanted) - 1 else ""
    if array.ndim > 2 and len(wanted) > 2 and array.shape[1] == lengths[-1] != array.shape[-1]:
        axes = ", ".join(map(str, (0, *range(2, array.ndim), 1)))
        return f" (channels first? x.transpose({axes}) puts them last)"
    if array.ndim == 1 or array.size == math.prod(lengths):
        return " (is the batch axis missing? x[None] is a batch of one)"
    return " (put flatten() before it)" if array.ndim > len(wanted) and "..." not in wanted else ""


def _fit_params(layer: AnyLayer, function: Callable[..., Any], params: Any) -> _Fit:
    """Require params of this layer."""
    lengths: dict[str, Any] = {
        name: length for name, length in layer.known.items() if length is not None and not callable(length)
    }
    fit = _Fit(layer.name, lengths)
    if layer.children:
        _expect_entries(layer, params)
        return fit
    wanted = _declared(base(function)).get("params")
    if wanted == ():
        if params.__class__ is not tuple or params:
            raise ShapeError(layer.name, "no params, the empty tuple", f"{kind_of(params)} {_OTHERS}")
    elif isinstance(wanted, type) and attrs.has(wanted) and not isinstance(params, wanted):
        raise ShapeError(layer.name, wanted.__name__, f"{kind_of(params)} {_OTHERS}")
    for name, dims in _fields_of(params):
        array = getattr(params, name)
        if dims.optional and name in layer.known and (array is None) != (layer.known[name] is None):
            given = "with" if array is None else "without"
            raise ShapeError(layer.name, f"params {given} a {name}", "the opposite")
        if array is not None or not dims.optional:
            fit.expect(f"params.{name}", array, dims, _no_hint)
    fit.lengths |= {name: length(params) for name, length in layer.known.items() if callable(length)}
    return fit


def _short_name(layer: AnyLayer) -> str:
    """The layer's name; for a combinator, without the names of its layers: ``chain``."""
    return layer.name.partition("(")[0] if layer.children else layer.name


def _expect_entries(layer: AnyLayer, params: Any) -> None:
    name = _short_name(layer)
    if layer.kind == "around":
        if not hasattr(params, "params"):
            raise ShapeError(name, "FrozenParams", f"{kind_of(params)} {_OTHERS}")
        return
    entries = len(dict(layer.children))  # children with the same path have the same params
    if not isinstance(params, tuple) or len(params) != entries:
        given = f"a tuple of {len(params)}" if isinstance(params, tuple) else kind_of(params)
        raise ShapeError(name, f"params with an entry for each of its {entries} layers", given)


def _expect_input(layer: AnyLayer, params: Any, x: Array) -> None:
    fit = _fit_params(layer, layer.pure_forward, params)
    dims = _declared(base(layer.pure_forward)).get("x")
    if layer.children or not isinstance(dims, _Dims):
        if not is_plain(x):
            raise not_an_array(_short_name(layer), "x", x)
        if x.ndim == 0:
            raise ShapeError(_short_name(layer), "x of shape (batch, ...)", "shape ()")
        return
    fit.expect("x", x, dims, _hint_for_x)
    if layer.out_shape is not None:
        _expect_example(layer, layer.out_shape, tuple(x.shape))


def _expect_example(layer: AnyLayer, out_shape: Callable[[Shape], Shape], shape: Shape) -> None:
    """Require examples of a shape that the layer takes."""
    try:
        out_shape(shape[1:])
    except ShapeError as error:
        given = error.given
        with suppress(ShapeError):
            out_shape(shape)
            given = f"{describe(shape[1:])} (is the batch axis missing? x[None] is a batch of one)"
        raise ShapeError(layer.name, error.expected, given) from None


def _expect_cotangent(layer: AnyLayer, params: Any, residuals: Any, dy: Array) -> None:
    fit = _fit_params(layer, layer.pure_vjp, params)
    declared = _declared(base(layer.pure_vjp))
    dims = declared.get("dy")
    if not is_plain(dy):
        raise not_an_array(_short_name(layer), "dy", dy)
    wanted = declared.get("residuals")
    if isinstance(wanted, type) and attrs.has(wanted) and not isinstance(residuals, wanted):
        raise ShapeError(_short_name(layer), wanted.__name__, f"{kind_of(residuals)} (the residuals of another layer?)")
    if layer.children:
        if not isinstance(wanted, type) or layer.kind != "sequence":
            _expect_residuals(layer, residuals, dy)
        return
    if not isinstance(dims, _Dims):
        return
    for name, field in _fields_of(residuals):
        fit.expect(name, getattr(residuals, name), field, _no_hint)
    in_shape = getattr(residuals, "in_shape", None)
    if in_shape is not None and layer.out_shape is not None:
        out_shape = layer.out_shape(tuple(in_shape[1:]))
        dims = attrs.evolve(dims, axes=tuple(map(str, (in_shape[0], *out_shape))))
    fit.expect("dy", dy, dims, _no_hint)


def _expect_residuals(layer: AnyLayer, residuals: Any, dy: Array) -> None:
    """Require residuals with an entry for each child and, for a concatenation, a dy as wide as all outputs together."""
    name, others = _short_name(layer), "(the residuals of another layer?)"
    entries = residuals
    if layer.kind in ("sum", "concatenation"):
        widths = getattr(residuals, "widths", None)
        if widths is None:
            raise ShapeError(name, "ParallelResiduals", f"{kind_of(residuals)} {others}")
        entries = residuals.of_layers
        if layer.kind == "concatenation" and (dy.ndim == 0 or dy.shape[-1] != sum(widths)):
            wanted = f"dy of shape {describe(('...', sum(widths)))}"
            raise ShapeError(name, wanted, f"shape {describe(dy.shape)}")
    elif layer.kind not in ("sequence", "views"):
        return
    if not isinstance(entries, tuple) or len(entries) != len(layer.children):
        given = f"a tuple of {len(entries)}" if isinstance(entries, tuple) else kind_of(entries)
        raise ShapeError(name, f"residuals with an entry for each of its {len(layer.children)} layers", given)


# --- losses


def loss(loss: Loss, prediction: Array, target: Array, weight: Array | None = None) -> tuple[float, Array]:
    """Check the arguments and compute the loss and its gradient."""
    expect_targets(loss, prediction, target, weight)
    given = (target,) if weight is None else (target, weight)
    with np.errstate(all="ignore"):
        value, grad = returned_by_loss(loss, loss.value_and_grad(prediction, *given), prediction, target)
    return value, _locked(grad)


def accuracy(loss: Loss, prediction: Array, target: Array, weight: Array | None = None) -> float:
    """Check the arguments and compute the share of right answers."""
    assert loss.pure_accuracy is not None
    expect_targets(loss, prediction, target, weight)
    given = (target,) if weight is None else (target, weight)
    with np.errstate(all="ignore"):
        return share(loss, loss.pure_accuracy(prediction, *given))


def penalty(penalty: Penalty, w: Array) -> tuple[float, Array]:
    """Check the array, compute the penalty and its gradient, and check them too."""
    if not is_plain(w):
        raise not_an_array(penalty.name, "the array", w)
    if isinstance(w, np.ndarray) and w.dtype.kind not in "fc":
        raise no_floats(penalty.name, "the array", w)
    with np.errstate(all="ignore"):
        value, grad = penalty_value(penalty, w), penalty.grad(w)
    return value, _locked(_gradient(penalty.name, "w", grad, w))


def penalty_value(penalty: Penalty, w: Array) -> Any:
    """The penalty's value as a float, checked to be one number."""
    return _number(penalty.name, "the value", penalty.value(w))


def returned_by_loss(loss: Loss, made: Any, prediction: Array, target: Array) -> tuple[Any, Array]:
    """What the loss's ``value_and_grad`` returned, checked: one number, as a float, and a gradient.

    Raises:
        TypeError: for anything but a pair.
        ShapeError: for a value that is not one number, or a gradient that is not like the prediction.
    """
    if not isinstance(made, tuple | list) or len(made) != 2:
        given = f"{len(made)} things" if isinstance(made, tuple | list) else kind_of(made)
        raise TypeError(
            f"{loss.name}: value_and_grad returns (loss, dprediction), the mean over the batch and its gradient with "
            f"respect to the prediction, got {given}"
        )
    value, grad = made
    shape, other = prediction.shape, getattr(target, "shape", prediction.shape)
    hint = ""
    if getattr(grad, "shape", shape) != shape and _broadcast(shape, other) != shape:
        hint = f" (a target of shape {describe(other)} was broadcast: give it the shape of the prediction)"
    grad = _gradient(loss.name, "prediction", grad, prediction, hint)
    return _number(loss.name, "the loss", value), grad


def _broadcast(one: Shape, other: Shape) -> Shape | None:
    try:
        return np.broadcast_shapes(one, other)
    except ValueError:
        return None


def share(loss: Loss, made: Any) -> Any:
    """What the loss's accuracy returned as a float, checked to be a share from 0 to 1."""
    accuracy = _number(loss.name, "the accuracy", made)
    if isinstance(accuracy, float) and not (0 <= accuracy <= 1 or math.isnan(accuracy)):
        raise ShapeError(loss.name, "an accuracy from 0 to 1, the share of right answers", f"{accuracy:g}")
    return accuracy


def _gradient(place: str, of: str, grad: Any, like: Array, hint: str = "") -> Any:
    """A gradient, checked to be an array of the shape and dtype of what it is the gradient of."""
    if isinstance(grad, np.generic):  # arithmetic on 0-d arrays makes scalars
        grad = np.asarray(grad)
    if not is_plain(grad):
        raise not_an_array(place, f"the gradient d{of}", grad)
    if grad.shape != like.shape:
        wanted = f"a gradient d{of} of shape {describe(like.shape)}"
        raise ShapeError(place, wanted, f"shape {describe(grad.shape)}{hint}")
    if grad.dtype != like.dtype and grad.dtype != _native(like.dtype):
        wanted = f"a gradient d{of} of dtype {like.dtype}"
        raise ShapeError(place, wanted, f"dtype {grad.dtype} ({converted(f'd{of}', _native(like.dtype))}?)")
    return grad


def _native(dtype: Any) -> Any:
    """The dtype in this machine's byte order."""
    return dtype.newbyteorder("=") if isinstance(dtype, np.dtype) else dtype


def _number(place: str, what: str, value: Any) -> Any:
    """The value as a float, checked to be one number. Under a tracer, which has no value yet, the array itself."""
    if isinstance(value, np.ndarray | np.generic):
        if value.shape == () and value.dtype.kind in "fiu":
            return float(value)
        given = f"an array of shape {describe(value.shape)}" if value.shape else f"dtype {value.dtype}"
    elif isinstance(value, float | int) and not isinstance(value, bool):
        return float(value)
    elif is_array(value) and value.shape == ():
        return value
    else:
        given = kind_of(value)
    raise ShapeError(place, f"{what} as one number, a float or an array of no axes", given)


def expect_targets(loss: Loss, prediction: Array, target: Array, weight: Array | None = None) -> None:
    """Require predictions, targets and weights that this loss takes.

    Raises:
        ShapeError: saying what was expected, what was given and, where it can be guessed, what was meant.
        TypeError: for weights, where the loss takes none.
    """
    if loss.targets and isinstance(prediction, np.ndarray) and is_array(target) and not isinstance(target, np.ndarray):
        raise not_an_array(loss.name, "the target", target)
    if loss.targets == "labels" or (loss.targets == "labels or distributions" and not _are_shares(prediction, target)):
        expect_labels(loss.name, prediction, target)
    elif loss.targets:
        _expect_like(loss.name, prediction, target)
        if isinstance(target, np.ndarray):
            _expect_values(loss, prediction, target)
    if loss.class_weights and prediction.shape[1:] != (len(loss.class_weights),):
        wanted = f"a prediction of shape {describe(('batch', len(loss.class_weights)))}, as there are class weights"
        raise ShapeError(loss.name, wanted, f"shape {describe(prediction.shape)}")
    if weight is not None:
        _expect_weight(loss, prediction, weight)


def _are_shares(prediction: Array, target: Any) -> bool:
    """Whether the target is to be taken for shares of the classes, not for labels."""
    return (
        is_array(target)
        and is_array(prediction)
        and target.ndim > 1
        and target.shape == prediction.shape
        and (target.dtype.kind if isinstance(target, np.ndarray) else "f") == "f"
    )


def _expect_values(loss: Loss, prediction: Array, target: np.ndarray) -> None:
    """Require shares, distributions or numbers in their range."""
    if loss.targets == "numbers":
        return
    low, high = target.min(), target.max()  # NaN fails all comparisons
    if loss.targets == "shares" and not (low >= 0 and high <= 1):
        raise ShapeError(loss.name, "targets from 0 to 1", f"{low:g} to {high:g}")
    if loss.targets == "not negative" and not (low >= 0 and high < math.inf):
        raise ShapeError(loss.name, "targets that are finite and not negative", f"{low:g} to {high:g}")
    if "distributions" in loss.targets:
        if target.ndim != 2:
            raise ShapeError(loss.name, "logits of shape (batch, classes)", f"shape {describe(prediction.shape)}")
        if not low >= 0:
            raise ShapeError(loss.name, "shares of the classes, from 0 to 1", f"{low:g} to {high:g}")
        off = np.abs(target.sum(axis=1) - 1)
        if not off.max() <= _SUM:
            row = int(off.argmax())
            given = f"{target[row].sum():g} in row {row}"
            raise ShapeError(loss.name, "shares of the classes that sum to 1", given)


_SUM = 1e-4  # what rounding may do to the sum of an example's shares


def _expect_weight(loss: Loss, prediction: Array, weight: Array) -> None:
    if not takes_weights(loss):
        raise TypeError(
            f"{loss.name} takes no weights, and the examples have some: Loss.of_examples makes a loss that takes them, "
            "and so does an argument weight of its value_and_grad and of its accuracy"
        )
    if not is_plain(weight):
        raise not_an_array(loss.name, "the weights", weight)
    if weight.shape != prediction.shape[:1]:
        hint = " (a column? weight[:, 0] are its weights)" if weight.shape == (*prediction.shape[:1], 1) else ""
        given = f"shape {describe(weight.shape)}{hint}"
        raise ShapeError(loss.name, f"weights of shape {describe(prediction.shape[:1])}, one an example", given)
    if weight.dtype != prediction.dtype:
        given = f"dtype {weight.dtype} ({converted('weight', prediction.dtype)}?)"
        raise ShapeError(loss.name, f"weights of dtype {prediction.dtype}, as the prediction", given)
    if isinstance(weight, np.ndarray):
        low, high = weight.min(), weight.max()
        if not (low >= 0 and high < math.inf):  # NaN fails both comparisons
            raise ShapeError(loss.name, "weights that are finite and not negative", f"{low:g} to {high:g}")


def takes_weights(loss: Loss) -> bool:
    """Whether the loss's ``value_and_grad``, and its accuracy if it has one, have an argument ``weight``."""
    functions = (loss.value_and_grad, loss.pure_accuracy)
    return all(function is None or _has_weight(function) for function in functions)


@lru_cache(512)
def _has_weight(function: Callable[..., Any]) -> bool:
    try:
        return "weight" in inspect.signature(function).parameters
    except ValueError:  # it is written in C, without a signature
        return False


def _expect_examples(name: str, prediction: Array) -> None:
    expect_float(name, "the prediction", prediction)
    if namespace(prediction).finfo(prediction.dtype).bits < 32:
        raise ShapeError(name, "a prediction of float32 or float64 (sums of float16 overflow)", str(prediction.dtype))
    if math.prod(prediction.shape) == 0:
        raise ShapeError(name, "at least one example with an output (the mean over none is undefined)", "none")


def _expect_like(name: str, prediction: Array, target: Array) -> None:
    _expect_examples(name, prediction)
    if not is_plain(target):
        raise not_an_array(name, "the target", target)
    if target.shape != prediction.shape:
        hint = ""
        if prediction.shape == (*target.shape, 1):
            hint = " (one output an example? target[:, None] is such a column)"
        elif target.shape == (*prediction.shape, 1):
            hint = " (target[..., 0] leaves the last axis out)"
        wanted = f"the target of shape {describe(prediction.shape)}, as the prediction"
        raise ShapeError(name, wanted, f"shape {describe(target.shape)}{hint}")
    if target.dtype != prediction.dtype:
        wanted = f"the target of dtype {prediction.dtype}, as the prediction"
        raise ShapeError(name, wanted, f"dtype {target.dtype} ({converted('target', prediction.dtype)}?)")


def expect_labels(name: str, logits: Array, labels: Array) -> None:
    """Require valid labels for these logits. Messages begin with ``name``.

    Raises:
        ShapeError: for labels of another kind, length or range, saying what may have been meant.
    """
    if not _are_labels(logits, labels):
        _expect_kinds(name, logits, labels)
    if not isinstance(labels, np.ndarray):
        return  # under a tracer there are no values to check
    classes = logits.shape[1]
    # As unsigned, a negative number is larger than the dtype's largest. One pass finds labels too low and too high.
    unsigned, largest = _unsigned(labels.dtype)
    if np.maximum.reduce(labels.view(unsigned)) > min(classes - 1, largest):
        low, high = int(labels.min()), int(labels.max())
        hint = ""
        if (low, high) == (1, classes):
            hint = " (do they count from 1? labels - 1)"
        elif low >= 0:
            hint = f" (the network has {classes} outputs: are there more classes?)"
        raise ShapeError(name, f"labels from 0 to {classes - 1}", f"labels from {low} to {high}{hint}")


def _are_labels(logits: Array, labels: Array) -> bool:
    """Whether dtypes and shapes are the usual ones: a fast test that nearly all calls pass."""
    return (
        logits.__class__ is np.ndarray
        and labels.__class__ is np.ndarray
        and logits.dtype.char in "fd"
        and labels.dtype.kind in "iu"
        and logits.ndim == 2
        and labels.ndim == 1
        and len(labels) == len(logits)
        and logits.size > 0
    )


def _expect_kinds(name: str, logits: Array, labels: Array) -> None:
    """Check dtypes and shapes one by one, to name the one that is wrong."""
    _expect_examples(name, logits)
    if logits.ndim != 2:
        raise ShapeError(name, "logits of shape (batch, classes)", f"shape {describe(logits.shape)}")
    if not is_plain(labels):
        raise not_an_array(name, "labels", labels)
    if labels.shape != logits.shape[:1]:
        hint = ""
        if labels.shape == (*logits.shape[:1], 1):
            hint = " (a column? labels[:, 0] are its labels)"
        elif labels.shape == logits.shape:
            hint = " (one-hot rows? labels.argmax(axis=1) are their labels)"
        given = f"shape {describe(labels.shape)}{hint}"
        raise ShapeError(name, f"labels of shape {describe(logits.shape[:1])}", given)
    if not namespace(labels).isdtype(labels.dtype, "integral"):
        given = f"dtype {labels.dtype}{_hint_for_labels(labels)}"
        raise ShapeError(name, "integer labels, one a row of logits", given)


def _hint_for_labels(labels: Array) -> str:
    """How labels of another dtype become integers: not by rounding."""
    kind = labels.dtype.kind if isinstance(labels, np.ndarray) else ""
    if kind in "UST":
        return " (names? np.unique(labels, return_inverse=True)[1] numbers them)"
    if kind == "f" and not (labels == np.trunc(labels)).all():
        return " (they are no whole numbers)"
    return " (labels.astype(int)?)" if kind in "fbO" else ""


@lru_cache
def _unsigned(dtype: np.dtype) -> tuple[np.dtype, int]:
    """The unsigned dtype of the same size, and the largest number of the dtype itself."""
    return np.dtype(f"{dtype.byteorder}u{dtype.itemsize}"), int(np.iinfo(dtype).max)
