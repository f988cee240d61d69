"""The proof of a layer: that its vjp is the derivative of its forward, and that both keep the layer's contract."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.check.contract import (
    expect_array,
    expect_finite,
    expect_gradient,
    expect_like,
    expect_pair,
    expect_tree,
    moved,
    path_in,
)
from funcnet.check.gradients import Gradient, prove_gradient
from funcnet.check.jax_oracle import prove_by_jax
from funcnet.check.kernels import prove_layer_kernel
from funcnet.check.purity import PURITY, call_purely, expect_unshared, same_bits, state
from funcnet.check.rounding import Jiggle, Numbers, agree, conditions, float32_agrees, tolerances
from funcnet.check.verdict import CheckError, CheckReport, Claim, Property, call_again, expect_subject, reproducible
from funcnet.layer import AnyLayer, Layer, run_forward
from funcnet.random import Key
from funcnet.shapes import Array, Shape, describe, whole_number
from funcnet.tree import Tree, freeze

__all__ = ["check_layer"]

_HIDDEN_STATE = "hidden state: vjp reads something that forward left behind outside its residuals"


def check_layer(
    layer: AnyLayer,
    in_shape: Shape,
    *,
    key: Key,
    batch: int = 3,
    draw: Callable[[Key, Shape], Array] = random.normal,
    mixes_examples: bool = False,
    oracle: Literal["jax"] | None = None,
) -> CheckReport:
    """Prove a layer, or a whole network, on one random case: inputs (batch, *in_shape) and parameters near init's.

    What is proven, in this order:

    - purity: arguments and captured arrays stay as they are, bit for bit; the same call gives the same bits, also after
      calls with other inputs; no global random state is touched; no writable result shares memory with anything. A
      layer that draws gives the same bits for the same key.
    - shapes and dtypes: init's out_shape is what forward makes; float32 in gives float32 out, and so does float64;
      gradients are trees like the parameters, with None for what is not trained, and the same with ``need_dx=False``.
    - predict: the y of forward, unless the layer has its own predict. It is pure, and takes each example by itself.
    - advance: updates only what is not trained, and keeps structure, shapes and dtypes.
    - the vjp against extrapolated central differences in float64, each with an estimate of its own error, entry by
      entry (of up to 64 entries an array, drawn with the key), and against the complex step where forward takes complex
      numbers and is analytic. Steps stay clear of kinks, and the report says so.
    - the adjoint identity along random directions through all entries.
    - linearity of the vjp in dy; and the same numbers from arrays in another memory order.
    - the same numbers from the NumPy engine's kernels, also with owned arguments, which they may write over, and with
      gradients added onto an accumulator.
    - batch additivity: the gradients of a batch are the sums of those of its parts. Those of an empty batch are zero.
    - float32 against float64, within the rounding errors of sums of that size.
    - with ``oracle="jax"``, the vjp against ``jax.vjp`` of the pure forward function, all entries of all gradients.

    Args:
        layer: the layer.
        in_shape: the shape of one example.
        key: draws the case; the same key draws the same one.
        batch: the number of examples.
        draw: ``draw(key, shape) -> x`` draws the inputs. Use it for layers that do not take all real numbers, and to
            try other inputs than standard normal ones, such as large ones.
        mixes_examples: whether the output of one example depends on the others (as in batch normalization), so that
            batches cannot be taken apart, nor be empty. Then try several ``batch``. Dropout's output depends on an
            example's place in the batch, so the same holds for it.
        oracle: ``"jax"`` for a second proof by JAX, which must be installed. The pure functions must be ones that JAX
            can trace, as those of the library are.

    Raises:
        CheckError: at the first property that does not hold, with the evidence and the likely cause.
        TypeError: for an argument that is not a layer, or not a key.
        ValueError: for a batch below 1, or an unknown oracle.
        ImportError: for an oracle that is not installed.
    """
    expect_subject("check_layer", Layer, layer, key)
    if oracle not in (None, "jax"):
        raise ValueError(f'the oracle of a check is "jax" or None, got {oracle!r}')
    batch = whole_number("the batch of a check", batch, 1)
    in_shape = tuple(in_shape)
    options: dict[str, object] = {"draw": draw} if draw is not random.normal else {}
    options |= {"mixes_examples": True} if mixes_examples else {}
    options |= {"oracle": oracle} if oracle else {}
    call = call_again("check_layer", layer, in_shape, batch=batch, key=key, **options)
    claim = Claim(layer.name, f"a batch of {batch} x {describe(in_shape)}", key, call)
    with reproducible(claim):
        case = _draw(claim, layer, in_shape, batch, draw)
        purity = _prove_purity(case)  # first: of an impure function nothing else can be proven
        contract = _prove_contract(case)
        within64, within32 = _tolerances(case)
        return CheckReport(
            claim,
            (
                purity,
                contract,
                *_prove_derivative(case, within64),
                _prove_linearity(case, within64),
                _prove_layout(case, within64),
                _prove_predict(case, within64),
                *(() if layer.pure_advance is None else (_prove_advance(case),)),
                prove_layer_kernel(claim, layer, case.params, case.x, case.dy, case.draws, within64),
                *(() if mixes_examples else (_prove_additivity(case, within64), _prove_empty_batch(case))),
                float32_agrees(claim, case.cast(np.float32).numbers(), case.numbers(), within32),
                *(() if oracle is None else (prove_by_jax(claim, layer, case.params, case.x, case.dy, within64),)),
            ),
        )


@attrs.frozen(eq=False)
class _Case:
    """A layer with all arguments of its functions, in float64. float32 can hold every number of them too."""

    claim: Claim
    layer: AnyLayer
    params: Tree
    x: Array
    dy: Array
    key: Key

    @property
    def draws(self) -> Key:
        """The key for a layer that draws."""
        return random.fold_in(self.key, 3)

    def forward(self, params: Tree, x: Array) -> tuple[Array, Any]:
        """The layer's forward, with the key where it draws."""
        return self.layer.forward(params, x, self.draws)

    def output(self, params: Tree, x: Array) -> Array:
        """The output of the pure forward function: without checks, since it is called often."""
        with np.errstate(all="ignore"):
            return run_forward(self.layer, params, x, self.draws)[0]

    def cast(self, dtype: Any) -> _Case:
        """The same case in another precision."""
        params, x, dy = tree.map(lambda a: a.astype(dtype), (self.params, self.x, self.dy))
        return attrs.evolve(self, params=params, x=x, dy=dy)

    def examples(self, start: int, stop: int) -> _Case:
        """The same case with some of its examples."""
        return attrs.evolve(self, x=self.x[start:stop], dy=self.dy[start:stop])

    def numbers(self, jiggle: Jiggle = lambda node: node) -> Numbers:
        """Output and gradients by their names: y, dx, dparams.weight."""
        params, x, dy = jiggle(self.params), jiggle(self.x), jiggle(self.dy)
        y, residuals = run_forward(self.layer, params, x, self.draws)
        dparams, dx = self.layer.pure_vjp(params, _jiggled(residuals, jiggle), dy)
        return _named(y, dparams, dx)


def _jiggled(residuals: Any, jiggle: Jiggle) -> Any:
    try:
        return jiggle(residuals)
    except TypeError:  # residuals may be anything, a tree or not
        return residuals


def _named(y: Array, dparams: Tree, dx: Array | None) -> Numbers:
    return {"y": y, **({} if dx is None else {"dx": dx}), **dict(tree.named_leaves(dparams, "dparams"))}


def _draw(claim: Claim, layer: AnyLayer, in_shape: Shape, batch: int, draw: Callable[[Key, Shape], Array]) -> _Case:
    init_key, noise_key, x_key, dy_key, rest = random.split(claim.key, 5)
    made = call_purely(claim, "init", layer.init, {"key": init_key, "in_shape": in_shape})
    params, out_shape = expect_pair(claim, "init", made, "(params, out_shape)")
    expect_tree(claim, "params", params)
    if not isinstance(out_shape, tuple):
        raise claim.refuted("init's out_shape is no tuple", where="out_shape", detail=f"it is {out_shape!r}")
    wrong = [path for path, leaf in tree.named_leaves(params) if leaf.dtype != np.float32]
    if wrong:
        raise claim.refuted("init makes parameters of another dtype than float32", where=f"params: {', '.join(wrong)}")
    leaf_keys = iter(random.split(noise_key, len(tree.leaves(params)) + 1))
    params = tree.map(lambda a: moved(next(leaf_keys), a), params)
    x = np.asarray(draw(x_key, (batch, *in_shape))).astype(np.float32)
    if x.shape != (batch, *in_shape) or not np.isfinite(x).all():
        raise ValueError(f"draw should give finite inputs of shape {(batch, *in_shape)}, got {x!r:.200}")
    dy = random.normal(dy_key, (batch, *out_shape))
    return _Case(claim, layer, params, freeze(x), freeze(dy), rest).cast(np.float64)


def _prove_contract(case: _Case) -> Property:
    claim, layer, compared = case.claim, case.layer, 0
    for dtype in (np.float32, np.float64):
        part = case.cast(dtype)
        dparams, residuals = _expect_results(part)
        without, _ = layer.vjp(part.params, residuals, part.dy, need_dx=False)
        same_bits(
            claim,
            "vjp gives other gradients with need_dx=False",
            state({"dparams": dparams}),
            state({"dparams": without}),
            "the two should be one code",
        )
        compared += 3 + len(tree.leaves(dparams))
    return Property("shapes and dtypes", compared)


def _prove_empty_batch(case: _Case) -> Property:
    """A batch of no examples gives no outputs, and gradients of zero."""
    empty = case.examples(0, 0)
    try:
        dparams, _ = _expect_results(empty)
    except CheckError:
        raise
    except Exception as error:
        error.add_note("what it was given is a batch of no examples, an array such as np.zeros((0, ...))")
        raise
    if wrong := [path for path, leaf in tree.named_leaves(dparams) if np.any(leaf)]:
        raise case.claim.refuted(
            "a batch of no examples has a gradient", where=path_in("dparams", wrong[0]), cause="a division by the batch"
        )
    return Property("an empty batch", 2 + len(tree.leaves(dparams)))


def _expect_results(case: _Case) -> tuple[Tree, Any]:
    claim, dtype = case.claim, case.x.dtype
    y, residuals = case.forward(case.params, case.x)
    expect_array(claim, "y", y, case.dy.shape, dtype)
    expect_finite(claim, "y", y)
    dparams, dx = case.layer.vjp(case.params, residuals, case.dy)
    if dx is None:
        raise claim.refuted("vjp gives no dx, which it was asked for")
    expect_array(claim, "dx", dx, case.x.shape, dtype)
    expect_gradient(claim, "dparams", dparams, case.params, len(case.x))
    return dparams, residuals


def _prove_purity(case: _Case) -> Property:
    claim, layer = case.claim, case.layer
    calls = 0
    for part in (case.cast(np.float32), case):
        arguments = {"params": part.params, "x": part.x}
        keyed = {**arguments, "key": part.draws} if layer.draws else arguments
        expect_pair(claim, "forward", call_purely(claim, "forward", layer.pure_forward, keyed), "(y, residuals)")
        y, residuals = part.forward(part.params, part.x)
        expect_array(claim, "y", y, part.dy.shape, part.x.dtype)
        predicted = call_purely(claim, "predict", layer.predict, arguments)
        expect_array(claim, "the y of predict", predicted, part.dy.shape, part.x.dtype)
        vjp_arguments = {"params": part.params, "residuals": residuals, "dy": part.dy}
        expect_pair(claim, "vjp", call_purely(claim, "vjp", layer.pure_vjp, vjp_arguments), "(dparams, dx)")
        dparams, dx = layer.vjp(part.params, residuals, part.dy)
        call_purely(claim, "vjp with need_dx=False", functools.partial(layer.pure_vjp, need_dx=False), vjp_arguments)
        _expect_unshared(attrs.evolve(part, x=part.x.copy(), dy=part.dy.copy()))
        # Other batches run in between. They must not change earlier results, nor what vjp computes from old residuals.
        results = {"y": y, "dparams": dparams, "dx": dx}
        kept = state(results)
        other_y, other_residuals = part.forward(part.params, freeze(part.x[::-1] / 2))
        other = layer.vjp(part.params, other_residuals, part.dy)
        same_bits(claim, "a later call changes what an earlier one returned", kept, state(results), "memory used again")
        later = {"y": other_y, "gradients": other}
        expect_unshared(claim, "a later call", later, results, cause="memory used again")
        part.forward(part.params, part.x[:1])
        broken = "vjp depends on which forward ran last"
        try:
            dparams, dx = layer.vjp(part.params, residuals, part.dy)
        except Exception as error:  # the same call succeeded before
            raise claim.refuted(broken, detail=f"{type(error).__name__}: {error}", cause=_HIDDEN_STATE) from error
        same_bits(claim, broken, kept, state({"y": y, "dparams": dparams, "dx": dx}), _HIDDEN_STATE)
        calls += 10
    return Property(PURITY, calls)


def _expect_unshared(case: _Case) -> None:
    """With writable arguments, as a user's own are, no result may be a writable view of one."""
    y, residuals = case.forward(case.params, case.x)
    arguments = {"params": case.params, "x": case.x, "residuals": residuals}
    expect_unshared(case.claim, "forward", {"y": y}, arguments)
    expect_unshared(case.claim, "predict", {"y": case.layer.predict(case.params, case.x)}, arguments)
    dparams, dx = case.layer.vjp(case.params, residuals, case.dy)
    expect_unshared(case.claim, "vjp", {"dparams": dparams, "dx": dx}, {**arguments, "dy": case.dy, "y": y})


def _tolerances(case: _Case) -> tuple[dict[str, float], dict[str, float]]:
    """The tolerances in float64 and in float32, for each array of the case's numbers."""
    # The longest sums: over the inputs of an output, over the entries of an example, over the uses of a parameter.
    fan_ins = [leaf.size // leaf.shape[-1] for leaf in tree.leaves(case.params) if leaf.ndim and leaf.size]
    terms = max(1, *fan_ins, math.prod(case.x.shape[1:]), math.prod(case.x.shape[:-1]), math.prod(case.dy.shape[:-1]))
    # The inputs may be off by a few roundoffs of their own, whatever the condition.
    floor = 4 * float(max(np.abs(a).max(initial=0) for a in (case.x, case.dy)))
    return tolerances(conditions(case.numbers, case.key), terms, floor)


def _prove_derivative(case: _Case, within: dict[str, float]) -> tuple[Property, ...]:
    _, residuals = case.forward(case.params, case.x)
    dparams, dx = case.layer.vjp(case.params, residuals, case.dy)
    inputs = _Inputs(tree.trained(case.params), case.x)
    all_trained = len(tree.leaves(inputs.params)) == len(tree.leaves(case.params))

    def with_fixed(params: Tree) -> Tree:
        return params if all_trained else tree.combine(params, _like(params, case.params))

    rounding = {path: within["dx" if path == "x" else f"d{path}"] for path, _ in tree.named_leaves(inputs)}
    gradient = Gradient(
        lambda at: case.output(with_fixed(at.params), at.x),
        inputs,
        case.dy,
        _Inputs(dparams, dx),
        rounding,
        len(case.x),
    )
    return prove_gradient(case.claim, gradient, random.fold_in(case.key, 1))


def _like(params: Tree, fixed: Tree) -> Tree:
    """What is not trained, in the dtype of what is trained. In the complex step that is complex."""
    dtype = next((leaf.dtype for leaf in tree.leaves(params)), None)
    return fixed if dtype is None else tree.map(lambda leaf: leaf.astype(dtype), fixed)


def _prove_predict(case: _Case, within: dict[str, float]) -> Property:
    """Predict takes each example by itself. It gives the y of forward, unless a layer inside has its own predict."""
    layer, params, x = case.layer, case.params, case.x
    whole = layer.predict(params, x)
    parts = np.concatenate([layer.predict(params, x[i : i + 1]) for i in range(len(x))])
    bound = {
        "y of predict": 4 * within["y"] + 64 * float(np.finfo(np.float64).eps) * float(np.abs(whole).max(initial=1))
    }
    held = Property("predict", 0)
    if layer.pure_predict is not None:
        held = agree(
            case.claim,
            "predict",
            "predict answers an example otherwise in another batch",
            got={"y of predict": whole},
            wanted={"y of predict": parts},
            within=bound,
            cause="inference should know one example at a time",
        )
    if not _predicts_as_forward(layer):
        return held
    return agree(
        case.claim,
        "predict",
        "predict gives other numbers than forward",
        got={"y of predict": whole},
        wanted={"y of predict": case.forward(params, x)[0]},
        within=bound,
    )


def _predicts_as_forward(layer: AnyLayer) -> bool:
    """Whether no layer inside has a predict of its own."""
    if layer.kind == "views":
        return False
    if layer.kind:
        return all(_predicts_as_forward(child) for _, child in layer.children)
    return layer.pure_predict is None


def _prove_advance(case: _Case) -> Property:
    """What is trained stays as it is, and the rest keeps its structure, shapes and dtypes."""
    claim, compared = case.claim, 0
    for part in (case.cast(np.float32), case):
        _, residuals = part.forward(part.params, part.x)
        arguments = {"params": part.params, "residuals": residuals}
        moved_on = call_purely(claim, "advance", part.layer.advance, arguments)
        expect_like(claim, "advance's params", moved_on, part.params)
        before, after = (state({"params": tree.trained(node)}) for node in (part.params, moved_on))
        same_bits(claim, "advance moves what is trained", before, after, "that is the optimizer's to move")
        compared += len(tree.leaves(part.params))
    return Property("advance", compared)


@attrs.frozen(eq=False)
class _Inputs:
    """All that the output depends on, so that paths read ``params.weight`` and ``x``."""

    params: Tree
    x: Array | None


def _prove_layout(case: _Case, within: dict[str, float]) -> Property:
    """The results do not depend on the memory order of the inputs."""
    params, x, dy = tree.map(np.asfortranarray, (case.params, case.x, case.dy))
    fortran = attrs.evolve(case, params=params, x=x, dy=dy)
    return agree(
        case.claim,
        "memory layout",
        "the results depend on how the inputs lie in memory",
        got=fortran.numbers(),
        wanted=case.numbers(),
        within={path: 4 * bound for path, bound in within.items()},
        cause='ravel(order="K"), a reshape in place, or anything else that reads memory in order',
    )


def _prove_linearity(case: _Case, within: dict[str, float]) -> Property:
    """vjp(a dy + b dz) = a vjp(dy) + b vjp(dz)."""
    a, b = 0.75, -1.25
    other = attrs.evolve(case, dy=random.normal(random.fold_in(case.key, 2), case.dy.shape, np.float64))
    both = attrs.evolve(case, dy=a * case.dy + b * other.dy)
    one, two, got = case.numbers(), other.numbers(), both.numbers()
    gradients = [path for path in got if path != "y"]
    largest, _ = _tolerances(other)
    return agree(
        case.claim,
        "linearity in dy",
        "the vjp is not linear in dy",
        got={path: got[path] for path in gradients},
        wanted={path: a * one[path] + b * two[path] for path in gradients},
        within={path: 4 * (within[path] + largest[path]) for path in gradients},
    )


def _prove_additivity(case: _Case, within: dict[str, float]) -> Property:
    """Outputs and dx of the parts, joined, are those of the batch; dparams of the parts add up to the batch's."""
    whole = case.numbers()
    first, rest = case.examples(0, 1).numbers(), case.examples(1, len(case.x)).numbers()
    return agree(
        case.claim,
        "batch additivity",
        "the gradients of a batch are not the sums of those of its parts",
        got=whole,
        wanted={
            path: np.concatenate([first[path], rest[path]]) if path in ("y", "dx") else first[path] + rest[path]
            for path in whole
        },
        within={path: 4 * bound for path, bound in within.items()},
        cause="a mean over the batch where a sum belongs, or examples that know of each other "
        "(mixes_examples=True, if they are meant to)",
    )
