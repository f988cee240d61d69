"""Combinators: functions from layers to a layer.

    chain      y = fn(... f2(f1(x)))            dx = the vjps from the last layer to the first
    parallel   y = f1(x) + f2(x) + ...          dx = dx1 + dx2 + ...   (or the outputs side by side)
    residual   y = f(x) + x                     He, Zhang, Ren & Sun, "Deep residual learning" (CVPR 2016), eq. 1
    frozen     y = f(x), its params not trained
    repeat     y = f(... f(f(x)))               with params for each f, or with the same ones: their gradients are added
    checkpoint y = fn(... f2(f1(x)))            the vjp computes forward again, from x

Each is the chain rule (Griewank & Walther, Evaluating Derivatives, 2nd ed., section 3.2). Each layer that
draws random numbers gets its own key, ``fold_in(key, place)``.
"""

from __future__ import annotations

from functools import partial, reduce
from operator import add
from typing import Any, Literal

import attrs

from funcnet import tree
from funcnet.arrays import namespace
from funcnet.layer import AnyLayer, Layer, advance, is_composition, run_forward, run_predict
from funcnet.layers.reshape import identity
from funcnet.random import Key, fold_in, split
from funcnet.shapes import Array, Float, Shape, ShapeError, describe, kind_of, whole_number
from funcnet.tree import Record, Tree

__all__ = [
    "CheckpointResiduals",
    "FrozenParams",
    "ParallelResiduals",
    "chain",
    "checkpoint",
    "frozen",
    "parallel",
    "repeat",
    "residual",
]


def _expect_layers(name: str, layers: tuple[AnyLayer, ...]) -> None:
    if not layers:
        raise ValueError(f"a {name} needs at least one layer (identity() is the layer that does nothing)")
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = " (call it to make the layer)" if callable(layer) else ""
            raise TypeError(f"{name}[{place}] is no layer but {kind_of(layer)}: {layer!r:.60}{hint}")


def _composed(name: str, layers: tuple[AnyLayer, ...], **functions: Any) -> AnyLayer:
    return Layer(
        f"{name}({', '.join(layer.name for layer in layers)})",
        children=tuple((f"[{place}]", layer) for place, layer in enumerate(layers)),
        draws=any(layer.draws for layer in layers),
        **functions,
    )


def child_key(layer: AnyLayer, key: Any, place: int) -> Any:
    """The key of the layer at a place, from that of the combinator. None for a layer that does not draw."""
    return fold_in(key, place) if layer.draws else None


def _init_children(name: str, layers: tuple[AnyLayer, ...], key: Key, shapes: Any) -> list[tuple[Any, Shape]]:
    """Params and out_shape of each layer. ``shapes(made)`` is the next layer's in_shape, from what was made so far."""
    made: list[tuple[Any, Shape]] = []
    for place, (layer, layer_key) in enumerate(zip(layers, split(key, len(layers)), strict=True)):
        try:
            made.append(layer.init(layer_key, shapes(made)))
        except ShapeError as error:
            raise error.inside(f"{name}[{place}]") from None
    return made


def chain(*layers: AnyLayer) -> Layer[tuple[Any, ...], tuple[Any, ...]]:
    """The composition of layers, first to last: itself a layer, so chains nest.

    Its parameters and residuals are tuples with one entry a layer. A ShapeError raised inside names the layer by
    its place: ``chain[2].linear(10)``.

    Raises:
        ValueError: for no layers at all.
        TypeError: for an argument that is not a layer.
    """
    _expect_layers("chain", layers)
    return _composed(
        "chain",
        layers,
        init=partial(chain_init, layers),
        forward=partial(chain_forward, layers),
        vjp=partial(chain_vjp, layers),
        predict=partial(chain_predict, layers),
        advance=_advance_of(layers),
        kind="sequence",
        remake=_chain_of,
        frozen=_frozen_of(layers, _chain_of),
        recipe=partial(chain, *layers),
    )


def _chain_of(layers: tuple[AnyLayer, ...]) -> AnyLayer:
    return chain(*layers)


def chain_init(layers: tuple[AnyLayer, ...], key: Key, in_shape: Shape) -> tuple[tuple[Any, ...], Shape]:
    """Each layer takes the output shape of the layer before it."""
    made = _init_children("chain", layers, key, lambda made: made[-1][1] if made else tuple(in_shape))
    return tuple(params for params, _ in made), made[-1][1]


def chain_forward(
    layers: tuple[AnyLayer, ...], params: tuple[Any, ...], x: Float[Array, "..."], key: Any = None
) -> tuple[Float[Array, "..."], tuple[Any, ...]]:
    """From the first layer to the last."""
    residuals = []
    for place, layer in enumerate(layers):
        x, kept = run_forward(layer, params[place], x, child_key(layer, key, place))
        residuals.append(kept)
    return x, tuple(residuals)


def chain_vjp(
    layers: tuple[AnyLayer, ...],
    params: tuple[Any, ...],
    residuals: tuple[Any, ...],
    dy: Float[Array, "..."],
    *,
    need_dx: bool = True,
) -> tuple[tuple[Any, ...], Float[Array, "..."] | None]:
    """From the last layer back to the first that has something to train, or to the first of all if dx is needed.

    Computing dx takes a third of the arithmetic of a network with one hidden layer.
    """
    gradients = tree.trained(params)
    first = 0 if need_dx else first_trained(gradients)
    dparams: list[Any] = list(gradients)
    dx: Any = dy
    for place in reversed(range(first, len(layers))):
        wanted = need_dx or place > first
        dparams[place], dx = layers[place].pure_vjp(params[place], residuals[place], dx, need_dx=wanted)
    return tuple(dparams), dx if need_dx else None


def first_trained(gradients: tuple[Any, ...]) -> int:
    """The place of the first layer with something to train; the number of layers where there is none."""
    return next((place for place, node in enumerate(gradients) if tree.leaves(node)), len(gradients))


def chain_predict(layers: tuple[AnyLayer, ...], params: tuple[Any, ...], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The predict of each layer, from the first to the last."""
    for layer, layer_params in zip(layers, params, strict=True):
        x = run_predict(layer, layer_params, x)
    return x


def parallel(*layers: AnyLayer, merge: Literal["sum", "concatenation"] = "sum") -> AnyLayer:
    """Layers side by side on one input: the sum of their outputs, or their outputs joined along the last axis.

    Its parameters are a tuple with one entry a layer.

    Raises:
        ValueError: for no layers at all, or another way to merge.
        TypeError: for an argument that is not a layer.
    """
    _expect_layers("parallel", layers)
    if merge not in ("sum", "concatenation"):
        raise ValueError(f"parallel layers merge by sum or concatenation, got {merge!r}")
    remake = partial(_parallel_of, merge)
    return _composed(
        "parallel",
        layers,
        init=partial(parallel_init, layers, merge),
        forward=partial(parallel_forward, layers, merge),
        vjp=partial(parallel_vjp, layers, merge),
        predict=partial(parallel_predict, layers, merge),
        advance=_parallel_advance_of(layers),
        kind=merge,
        remake=remake,
        frozen=_frozen_of(layers, remake),
        recipe=partial(parallel, *layers, merge=merge),
    )


def _parallel_of(merge: Any, layers: tuple[AnyLayer, ...]) -> AnyLayer:
    return parallel(*layers, merge=merge)


@attrs.frozen(eq=False)
class ParallelResiduals(Record):
    """The residuals of each layer, and the width of each output along the last axis."""

    of_layers: tuple[Any, ...]
    widths: tuple[int, ...] = tree.static_field()


def parallel_init(layers: tuple[AnyLayer, ...], merge: str, key: Key, in_shape: Shape) -> tuple[Any, Shape]:
    """Every layer takes the same input shape. Only outputs to be concatenated may differ, in the last axis."""
    made = _init_children("parallel", layers, key, lambda made: tuple(in_shape))
    shapes = [shape for _, shape in made]
    for place, shape in enumerate(shapes):
        fits = shape == shapes[0] if merge == "sum" else shape and shape[:-1] == shapes[0][:-1]
        if not fits:
            wanted = f"an output of shape {describe(shapes[0])}, as that of [0], to add" if merge == "sum" else (
                f"an output with a last axis, and {describe(shapes[0][:-1])} before it, as that of [0]"
            )  # fmt: skip
            raise ShapeError(f"parallel[{place}].{layers[place]}", wanted, describe(shape))
    width = () if merge == "sum" else (sum(shape[-1] for shape in shapes),)
    return tuple(params for params, _ in made), shapes[0] if merge == "sum" else (*shapes[0][:-1], *width)


def parallel_forward(
    layers: tuple[AnyLayer, ...], merge: str, params: tuple[Any, ...], x: Float[Array, "..."], key: Any = None
) -> tuple[Float[Array, "..."], ParallelResiduals]:
    """The same input to every layer."""
    made = [run_forward(layer, params[place], x, child_key(layer, key, place)) for place, layer in enumerate(layers)]
    outputs = [y for y, _ in made]
    return _merged(merge, outputs), ParallelResiduals(
        tuple(kept for _, kept in made), tuple(y.shape[-1] for y in outputs)
    )


def _merged(merge: str, outputs: list[Array]) -> Array:
    if merge == "concatenation":
        joined: Array = namespace(outputs[0]).concat(outputs, axis=-1)
        return joined
    return _total(outputs)


def _total(arrays: list[Array]) -> Array:
    total = arrays[0]
    for array in arrays[1:]:
        total = total + array
    return total


def parallel_vjp(
    layers: tuple[AnyLayer, ...],
    merge: str,
    params: tuple[Any, ...],
    residuals: ParallelResiduals,
    dy: Float[Array, "..."],
    *,
    need_dx: bool = True,
) -> tuple[tuple[Any, ...], Float[Array, "..."] | None]:
    """For a sum, every layer gets dy. For a concatenation, each gets its slice of dy. The dx are added."""
    dys = [dy] * len(layers) if merge == "sum" else parts_of(dy, residuals.widths)
    made = [
        layer.pure_vjp(layer_params, kept, layer_dy, need_dx=need_dx)
        for layer, layer_params, kept, layer_dy in zip(layers, params, residuals.of_layers, dys, strict=True)
    ]
    dx = _total([layer_dx for _, layer_dx in made if layer_dx is not None]) if need_dx else None
    return tuple(dparams for dparams, _ in made), dx


def parts_of(joined: Float[Array, "..."], widths: tuple[int, ...]) -> list[Float[Array, "..."]]:
    """The slices, of these widths, of an array that was joined along the last axis."""
    parts, begin = [], 0
    for width in widths:
        parts.append(joined[..., begin : begin + width])
        begin += width
    return parts


def parallel_predict(
    layers: tuple[AnyLayer, ...], merge: str, params: tuple[Any, ...], x: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The predict of every layer on the same input, merged."""
    return _merged(merge, [run_predict(layer, p, x) for layer, p in zip(layers, params, strict=True)])


def residual(*layers: AnyLayer) -> AnyLayer:
    """y = f(x) + x, where f is the chain of the layers. It is a ``parallel`` of f and ``identity``.

    He, Zhang, Ren & Sun, "Deep residual learning for image recognition" (CVPR 2016), eq. 1. Its parameters are
    ``(params of f, ())``.

    Raises:
        ValueError: for no layers at all.
        TypeError: for an argument that is not a layer.
    """
    _expect_layers("residual", layers)
    inner = layers[0] if len(layers) == 1 else chain(*layers)
    name, recipe = f"residual({', '.join(map(str, layers))})", partial(residual, *layers)
    return attrs.evolve(_residual_of((inner, identity())), name=name, recipe=recipe)


def _residual_of(layers: tuple[AnyLayer, ...]) -> AnyLayer:
    return attrs.evolve(
        parallel(*layers),
        name=f"residual({layers[0]})",
        init=partial(residual_init, layers),
        remake=_residual_of,
        frozen=_frozen_of(layers, _residual_of),
        recipe=partial(residual, layers[0]),
    )


def residual_init(layers: tuple[AnyLayer, ...], key: Key, in_shape: Shape) -> tuple[Any, Shape]:
    """The output is added to the input, so both must have one shape."""
    made = _init_children("residual", layers, key, lambda made: tuple(in_shape))
    out_shape = made[0][1]
    if out_shape != tuple(in_shape):
        wanted = f"an output of shape {describe(in_shape)}, as the input, to add"
        raise ShapeError(f"residual[0].{layers[0]}", wanted, describe(out_shape))
    return tuple(params for params, _ in made), out_shape


def repeat(layer: AnyLayer, times: int, *, tied: bool = False) -> AnyLayer:
    """The layer, ``times`` times one after the other.

    It is the ``chain`` of so many layers, each with params of its own. With ``tied`` all of them have the same params.
    These are a tuple of one entry, and their gradient is the sum over all places. Then the layer's output has the shape
    of its input.

    Raises:
        ValueError: for a number that is no whole number from 1 up.
        TypeError: for an argument that is not a layer.
    """
    _expect_layers("repeat", (layer,))
    layers = (layer,) * whole_number("how many times a layer is repeated", times, 1)
    if not tied:
        return chain(*layers)
    return attrs.evolve(_tied_of(layers), recipe=partial(repeat, layer, times, tied=True))


def _tied_of(layers: tuple[AnyLayer, ...]) -> AnyLayer:
    return Layer(
        f"repeat({layers[0].name}, {len(layers)}, tied)",
        partial(tied_init, layers),
        partial(tied_forward, layers),
        partial(tied_vjp, layers),
        predict=partial(tied_predict, layers),
        advance=partial(tied_advance, layers) if layers[0].pure_advance else None,
        draws=layers[0].draws,
        children=tuple(("[0]", layer) for layer in layers),
        kind="sequence",
        remake=_tied_of,
        frozen=_frozen_of(layers, _tied_of),
    )


def tied_init(layers: tuple[AnyLayer, ...], key: Key, in_shape: Shape) -> tuple[tuple[Any], Shape]:
    """The params of one layer, whose output is the input of the next."""
    ((params, out_shape),) = _init_children("repeat", layers[:1], key, lambda made: tuple(in_shape))
    if out_shape != tuple(in_shape):
        raise ShapeError(
            f"repeat[0].{layers[0]}", f"an output of shape {describe(in_shape)}, as the input", describe(out_shape)
        )
    return (params,), out_shape


def tied_forward(
    layers: tuple[AnyLayer, ...], params: tuple[Any], x: Float[Array, "..."], key: Any = None
) -> tuple[Float[Array, "..."], tuple[Any, ...]]:
    """The forward of a chain in which all layers have the same params."""
    return chain_forward(layers, params * len(layers), x, key)


def tied_vjp(
    layers: tuple[AnyLayer, ...],
    params: tuple[Any],
    residuals: tuple[Any, ...],
    dy: Float[Array, "..."],
    *,
    need_dx: bool = True,
) -> tuple[tuple[Any], Float[Array, "..."] | None]:
    """The sum of the gradients at all places; dx as in a chain."""
    gradients, dx = chain_vjp(layers, params * len(layers), residuals, dy, need_dx=need_dx)
    return (reduce(partial(tree.map, add), gradients),), dx


def tied_predict(layers: tuple[AnyLayer, ...], params: tuple[Any], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The predict of a chain in which all layers have the same params."""
    return chain_predict(layers, params * len(layers), x)


def tied_advance(layers: tuple[AnyLayer, ...], params: tuple[Any], residuals: tuple[Any, ...]) -> tuple[Any]:
    """The advance of every layer, one after the other, on the same params."""
    moved = params[0]
    for layer, kept in zip(layers, residuals, strict=True):
        moved = advance(layer, moved, kept)
    return (moved,)


@attrs.frozen(eq=False)
class CheckpointResiduals(Record):
    """What forward is computed again from, and the params as ``advance`` of the chain made them in forward."""

    x: Array
    key: Any = None
    advanced: Tree = None


def checkpoint(*layers: AnyLayer) -> Layer[tuple[Any, ...], CheckpointResiduals]:
    """The chain of the layers, with less memory: it keeps its input alone, and the vjp computes forward again.

    A training step then computes forward twice, and holds the residuals of one ``checkpoint`` at a time. It draws the
    same random numbers both times. Its params are those of ``chain(*layers)``. It has nothing to do with files.

    Chen, Xu, Zhang & Guestrin, "Training deep nets with sublinear memory cost" (2016), section 4.

    Raises:
        ValueError: for no layers at all.
        TypeError: for an argument that is not a layer.
    """
    _expect_layers("checkpoint", layers)
    return _composed(
        "checkpoint",
        layers,
        init=partial(chain_init, layers),
        forward=partial(checkpoint_forward, layers),
        vjp=partial(checkpoint_vjp, layers),
        predict=partial(chain_predict, layers),
        advance=checkpoint_advance if _advance_of(layers) else None,
        kind="sequence",
        remake=_checkpoint_of,
        frozen=_frozen_of(layers, _checkpoint_of),
        recipe=partial(checkpoint, *layers),
    )


def _checkpoint_of(layers: tuple[AnyLayer, ...]) -> AnyLayer:
    return checkpoint(*layers)


def checkpoint_forward(
    layers: tuple[AnyLayer, ...], params: tuple[Any, ...], x: Float[Array, "..."], key: Any = None
) -> tuple[Float[Array, "..."], CheckpointResiduals]:
    """The y of the chain. Running statistics are moved here, where the residuals of the layers are."""
    y, residuals = chain_forward(layers, params, x, key)
    return y, CheckpointResiduals(x, key, chain_advance(layers, params, residuals) if _advance_of(layers) else None)


def checkpoint_vjp(
    layers: tuple[AnyLayer, ...],
    params: tuple[Any, ...],
    residuals: CheckpointResiduals,
    dy: Float[Array, "..."],
    *,
    need_dx: bool = True,
) -> tuple[tuple[Any, ...], Float[Array, "..."] | None]:
    """The vjp of the chain, with residuals that are made again."""
    _, made = chain_forward(layers, params, residuals.x, residuals.key)
    return chain_vjp(layers, params, made, dy, need_dx=need_dx)


def checkpoint_advance(params: tuple[Any, ...], residuals: CheckpointResiduals) -> tuple[Any, ...]:
    """What is trained, as it is now, with the running statistics that forward made."""
    return tree.combine(tree.trained(params), residuals.advanced)


def _advance_of(layers: tuple[AnyLayer, ...]) -> Any:
    return partial(chain_advance, layers) if any(layer.pure_advance for layer in layers) else None


def chain_advance(layers: tuple[AnyLayer, ...], params: tuple[Any, ...], residuals: tuple[Any, ...]) -> tuple[Any, ...]:
    """The advance of each layer, with its residuals."""
    return tuple(advance(layer, p, kept) for layer, p, kept in zip(layers, params, residuals, strict=True))


def _parallel_advance_of(layers: tuple[AnyLayer, ...]) -> Any:
    return partial(parallel_advance, layers) if any(layer.pure_advance for layer in layers) else None


def parallel_advance(
    layers: tuple[AnyLayer, ...], params: tuple[Any, ...], residuals: ParallelResiduals
) -> tuple[Any, ...]:
    """The advance of each layer, with its residuals."""
    return chain_advance(layers, params, residuals.of_layers)


def _frozen_of(layers: tuple[AnyLayer, ...], remake: Any) -> AnyLayer | None:
    """The composition of the layers' frozen variants; None if every layer is its own frozen variant."""
    if all(layer.frozen is None for layer in layers):
        return None
    made: AnyLayer = remake(tuple(layer.frozen or layer for layer in layers))
    return made


@attrs.frozen
class FrozenParams(Record):
    """Params that no optimizer updates."""

    params: Tree = attrs.field(metadata={"trained": False})


def frozen(layer: AnyLayer) -> Layer[FrozenParams, Any]:
    """The layer with params that are not trained. It computes what ``predict`` does, in training too.

    So a frozen batch normalization uses its running statistics, which stay as they are, and frozen dropout drops
    nothing. The gradient of its params is None.

    Raises:
        TypeError: for an argument that is not a layer, or a layer with its own predict and no ``frozen`` variant.
    """
    _expect_layers("frozen", (layer,))
    _expect_frozen_variant(layer)
    made = _frozen_around((layer.frozen or layer,), f"frozen({layer.name})")
    return attrs.evolve(made, recipe=partial(frozen, layer))


def _expect_frozen_variant(layer: AnyLayer) -> None:
    if layer.kind == "views":
        raise TypeError(f"{layer} averages predictions, and has no vjp of that: freeze the network inside it")
    if layer.kind and not is_composition(layer):
        raise TypeError(f"a function of {layer} was replaced, and nothing says what the layer is when frozen")
    if layer.kind:
        for _, child in layer.children if layer.kind != "around" else ():
            _expect_frozen_variant(child)
    elif layer.pure_predict is not None and layer.frozen is None:
        raise TypeError(
            f"{layer} has a predict of its own: its field frozen must be the layer that computes this, with its vjp"
        )


def _frozen_around(layers: tuple[AnyLayer, ...], name: str = "frozen") -> Layer[FrozenParams, Any]:
    (inner,) = layers
    return Layer(
        name,
        partial(frozen_init, inner),
        partial(frozen_forward, inner),
        partial(frozen_vjp, inner),
        predict=partial(frozen_predict, inner),
        children=(("", inner),),
        kind="around",
        remake=_frozen_around,
        draws=inner.draws,
    )


def frozen_init(layer: AnyLayer, key: Key, in_shape: Shape) -> tuple[FrozenParams, Shape]:
    """The params of the layer, in a record that says they are not trained."""
    try:
        params, out_shape = layer.init(key, in_shape)
    except ShapeError as error:
        raise error.inside("frozen") from None
    return FrozenParams(params), out_shape


def frozen_forward(
    layer: AnyLayer, params: FrozenParams, x: Float[Array, "..."], key: Any = None
) -> tuple[Float[Array, "..."], Any]:
    """The forward of the layer inside."""
    return run_forward(layer, params.params, x, key)


def frozen_vjp(
    layer: AnyLayer, params: FrozenParams, residuals: Any, dy: Float[Array, "..."], *, need_dx: bool = True
) -> tuple[FrozenParams, Float[Array, "..."] | None]:
    """dx, and no gradient of the params."""
    dx = layer.pure_vjp(params.params, residuals, dy)[1] if need_dx else None
    return FrozenParams(None), dx


def frozen_predict(layer: AnyLayer, params: FrozenParams, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The predict of the layer inside."""
    return run_predict(layer, params.params, x)
