"""One network, several optimizers: each array of the parameters is moved by the one that its path chooses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial, reduce
from typing import TypeAlias

from funcnet import tree
from funcnet.optimizers.arguments import not_negative
from funcnet.optimizers.optimizer import Moment, Optimizer, expect_optimizer
from funcnet.optimizers.transformations import Mask
from funcnet.shapes import Array
from funcnet.tree import Tree

__all__ = ["Where", "by_path"]

Where: TypeAlias = str | Mask


def by_path(optimizer: Optimizer, *exceptions: tuple[Where, Optimizer]) -> Optimizer:
    """The optimizer, with others for some arrays: ``by_path(nesterov(0.1), ("[0].bias", nesterov(until(0.1, 300))))``.

    An exception is a pair: where, and the optimizer there. Where is a path such as ``"[0].bias"``, in which ``*``
    stands for any text, or a mask: ``mask(path, array) -> bool``. The first exception that fits an array moves it, and
    ``optimizer`` moves the rest. So an array has a rate of its own, which may be 0 at some steps.

    Each optimizer sees its own arrays alone: clipping by the norm within one takes the norm of these. The learning rate
    that records show is that of ``optimizer``.

    Raises:
        TypeError: for anything but an optimizer, or an exception that is not such a pair.
        ValueError: for an optimizer that averages the parameters: the average goes around all. By ``init``, for a path
            that chooses none of the arrays.
    """
    for exception in exceptions:
        if not isinstance(exception, tuple) or len(exception) != 2 or not _is_where(exception[0]):
            raise TypeError(
                'an exception is a path or a mask, and an optimizer, such as ("[0].bias", sgd(0.1)); got '
                f"{exception!r:.80}"
            )
    where, others = tuple(place for place, _ in exceptions), tuple(part for _, part in exceptions)
    parts = (optimizer, *others)
    for part in parts:
        expect_optimizer(part)
        if part.pure_evaluated is not None:
            raise ValueError(f"an average goes around by_path, average(by_path(...)), not inside; got {part}")
    schedules = list(optimizer.schedules)
    for part in others:
        schedules.extend((partial(_rate_of, part), *part.schedules))
    said = "; ".join([str(optimizer), *(f"{_said(place)}: {part}" for place, part in exceptions)])
    return Optimizer(
        f"by_path({said})",
        partial(by_path_init, where, parts),
        partial(by_path_update, where, parts),
        optimizer.learning_rate,
        parts,
        schedules=tuple(schedules),
    )


def _is_where(where: object) -> bool:
    return isinstance(where, str) or callable(where)


def _said(where: Where) -> str:
    return where if isinstance(where, str) else getattr(where, "__name__", "mask")


def _rate_of(optimizer: Optimizer, step: int) -> float:
    """The learning rate of an exception. It may be 0."""
    return math.nan if optimizer.learning_rate is None else not_negative("a rate", optimizer.learning_rate(step))


def moments_of(parts: tuple[Optimizer, ...], now: Moment) -> list[Moment]:
    """What the update of each part is told."""
    first, *others = parts
    count = len(first.schedules)
    found, numbers = [Moment(now.step, now.rate, now.loss, now.numbers[:count])], now.numbers[count:]
    for part in others:
        count = 1 + len(part.schedules)
        found.append(Moment(now.step, numbers[0], now.loss, numbers[1:count]))
        numbers = numbers[count:]
    return found


def groups_of(where: tuple[Where, ...], arrays: Mapping[str, Array]) -> list[set[str]]:
    """The paths of the arrays that each part moves. The first part moves what no exception chooses."""
    found: list[set[str]] = [set() for _ in range(len(where) + 1)]
    for path, array in arrays.items():
        found[next((i for i, place in enumerate(where, 1) if _fits(place, path, array)), 0)].add(path)
    return found


def _fits(where: Where, path: str, array: Array) -> bool:
    if isinstance(where, str):
        return re.fullmatch(".*".join(map(re.escape, where.split("*"))), path) is not None
    return where(path, array)


def by_path_init(where: tuple[Where, ...], parts: tuple[Optimizer, ...], params: Tree) -> tuple[Tree, ...]:
    params = tree.trained(params)
    arrays = dict(tree.named_leaves(params))
    groups = groups_of(where, arrays)
    for place, group in zip(where, groups[1:], strict=True):
        if isinstance(place, str) and not group:
            raise ValueError(
                f"{place!r} chooses none of the arrays that are trained and not chosen before; the paths are "
                f"{', '.join(arrays)}"
            )
    return tuple(part.init(tree.only(params, group)) for part, group in zip(parts, groups, strict=True))


def by_path_update(
    where: tuple[Where, ...],
    parts: tuple[Optimizer, ...],
    grads: Tree,
    opt_state: tuple[Tree, ...],
    params: Tree,
    now: Moment,
) -> tuple[Tree, tuple[Tree, ...]]:
    arrays = dict(tree.named_leaves(params))
    groups = groups_of(where, {path: arrays[path] for path, _ in tree.named_leaves(grads)})
    made = [
        part.pure_update(tree.only(grads, group), part_state, params, moment)
        for part, part_state, group, moment in zip(parts, opt_state, groups, moments_of(parts, now), strict=True)
    ]
    updates = reduce(lambda all_of_them, own: tree.combine(own, all_of_them), [own for own, _ in made], grads)
    return updates, tuple(new for _, new in made)
