"""NumPy's floating-point error state, and Python's warnings, are the caller's: nothing public depends on them.

Equations underflow and overflow on purpose. Under ``np.seterr(all="raise")``, or with warnings as errors, all gives the
same bits as with errors ignored.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from pure_cases import LAYERS, LOSSES, OPTIMIZERS
from runs import run_record

import funcnet as fn
from funcnet import optimizers, random, tree
from funcnet.check import check_layer, check_loss, check_penalty, class_labels
from funcnet.data.batches import Normalization, normalization
from funcnet.data.dataset import Dataset, Split
from funcnet.examination import describe, examine
from funcnet.optimizers import apply_updates, schedules
from funcnet.report import write_report

KEY = fn.make_key(0)
F4 = np.float32
HARD = np.array([[1e-30, 3e38, -3e38, 0], [np.inf, -np.inf, np.nan, 1e-42], [-1e-20, 88, 200, -200]], F4)
LABELS = np.array([0, 1, 2])
NET = fn.chain(
    fn.linear(6), fn.batch_norm(), fn.sigmoid(), fn.residual(fn.linear(6), fn.dropout(0.1)), fn.gelu(), fn.linear(4)
)
ENGINES = (fn.engines.plain(), fn.engines.numpy())


def tiny_params() -> Any:
    return tree.map(lambda a: (a.astype(np.float64) * 1e-20).astype(F4), NET.init(KEY, (4,))[0])


PARAMS = tiny_params()


def layers() -> list[Any]:
    found: list[Any] = []
    for layer, in_shape in LAYERS:
        params, _ = layer.init(KEY, in_shape)
        rows = math.prod(in_shape)
        x = np.resize(HARD, (3, rows)).reshape(3, *in_shape)
        y, residuals = layer.forward(params, x, KEY)
        found += [y, layer.vjp(params, residuals, np.full_like(y, 1e30)), layer.predict(params, x)]
        found += [layer.advance(params, residuals)]
    return found


def losses() -> list[Any]:
    targets = {
        "labels": LABELS,
        "shares": np.full_like(HARD, 0.5),
        "distributions": np.eye(3, 4, dtype=F4),
        "numbers": np.zeros_like(HARD),
        "not negative": np.ones_like(HARD),
    }
    weights = (None, np.zeros(3, F4), np.array([0, 1e-42, 3e38], F4))
    found: list[Any] = []
    for loss, kind in LOSSES:
        for weight in weights:
            found += [loss(HARD, targets[kind], weight)]
            found += [loss.accuracy(HARD, targets[kind], weight)] if loss.accuracy is not None else []
    return found


def penalties() -> list[Any]:
    return [penalty(HARD) for penalty in (fn.l2(1e-30), fn.l1(1e-30), fn.l2(1e30))]


MORE_OPTIMIZERS = {
    **OPTIMIZERS,
    "accumulate": optimizers.accumulate(fn.adam(0.1), 2),
    "lookahead": optimizers.lookahead(fn.sgd(0.1), 2),
    "average": optimizers.average(fn.sgd(0.1)),
    "clip by norm": fn.compose(optimizers.clip_by_global_norm(1.0), fn.sgd(0.1)),
    "clip by value": fn.compose(optimizers.clip_by_value(1.0), fn.sgd(0.1)),
    "plateau": fn.compose(fn.sgd(0.1), optimizers.reduce_on_plateau()),
}


def updates() -> list[Any]:
    found: list[Any] = []
    for optimizer in MORE_OPTIMIZERS.values():
        params = (np.full((3, 2), 1e-30, F4), np.array([1e30, 1e-42], F4))
        state = optimizer.init(params)
        for step in range(3):
            grads = (np.array([[1e-30, 1e30], [3e38, 1e-42], [0, 1]], F4), np.array([1e25, 1e-25], F4))
            moves, state = optimizer.update(grads, state, params, step, loss=1e-30)
            params = apply_updates(params, moves)
            found += [moves, state, params, optimizer.evaluated(params, state)]
    return found


def rates() -> list[Any]:
    made = (
        schedules.step_decay(0.1, 10, 1e-3), schedules.exponential(0.1, 10, 0.5), schedules.polynomial(0.1, 100),
        schedules.cosine(0.1, 100), schedules.linear_warmup(0.1, 10), schedules.one_cycle(0.1, 100),
    )  # fmt: skip
    return [schedule(step) for schedule in made for step in range(0, 1000, 50)]


def steps() -> list[Any]:
    on_paths = fn.each_weight(fn.l2(1e-30), PARAMS)
    batch, loss = fn.Batch(HARD, LABELS), fn.softmax_cross_entropy()
    found: list[Any] = [fn.make_grad(NET, loss, on_paths)(PARAMS, batch, KEY)]
    for engine in ENGINES:
        found.append(fn.evaluate(NET, PARAMS, [batch], loss, on_paths, engine=engine))
        found.append(fn.make_predict(NET, PARAMS, engine=engine)(HARD))
        for name in ("momentum", "adamw", "lion", "average"):
            optimizer = MORE_OPTIMIZERS[name]
            step = fn.make_step(NET, loss, optimizer, on_paths, engine=engine)
            found += [step(fn.init_state(PARAMS, optimizer, KEY), batch)]
    return found


def draws() -> list[Any]:
    numbers = [random.uniform(KEY, (1000,), -1e-42, 1e-42), random.uniform(KEY, (1000,), 0, 3e38)]
    numbers += [random.normal(KEY, (1000,)), random.normal(KEY, (1000,), np.float16), random.randint(KEY, (9,), 0, 9)]
    return [*numbers, random.permutation(KEY, 100)]


def examinations() -> list[Any]:
    net = fn.chain(fn.linear(3), fn.relu(), fn.linear(3))
    params, _ = net.init(KEY, (4,))
    large = (attrs.evolve(params[0], weight=np.resize(HARD, (4, 3))), *params[1:])
    pictures = np.zeros((3, 2, 2), np.uint8)
    normalize = normalization(pictures)
    flat = fn.chain(fn.flatten(), *(child for _, child in net.children))
    return [
        examine(net, params, Split(HARD, LABELS)),
        examine(net, large, Split(np.ones((3, 4), F4), LABELS)),
        examine(flat, ((), *large), Split(pictures, LABELS), normalize),
        examine(fn.identity(), (), Split(np.array([[0, 200], [3e38, -3e38]], F4), LABELS[:2])),
        describe(net, (4,)),
        normalize(pictures),
        Normalization(np.full((2, 2), 3e38, F4), np.full((2, 2), -np.inf, F4))(pictures + np.uint8(9)),
        tree.norm((HARD,)),
    ]


def trained(rate: float, coefficient: float, engine: fn.engines.Engine) -> list[Any]:
    rows = np.random.default_rng(0).standard_normal((40, 4)).astype(F4)
    part = Split(rows, np.arange(40) % 4)
    optimizer, params = fn.momentum(rate), NET.init(KEY, (4,))[0]
    records = fn.train(
        NET, fn.init_state(params, optimizer, KEY), Dataset("rows", part, part, ()), loss=fn.softmax_cross_entropy(),
        optimizer=optimizer, penalties=fn.each_weight(fn.l2(coefficient), params), epochs=2, batch_size=10,
        engine=engine,
    )  # fmt: skip
    return [
        (r.train, r.test, r.running, r.gradient_norms, r.update_ratios, r.examination, r.state.params) for r in records
    ]


def training() -> list[Any]:
    return [trained(0.1, coefficient, engine) for engine in ENGINES for coefficient in (1e-3, 1e-42)]


def divergences() -> list[Any]:
    """The message of the one error that is meant."""
    found = []
    for engine in ENGINES:
        with pytest.raises(fn.DivergenceError) as caught:
            trained(1e30, 1e-3, engine)
        found.append(str(caught.value))
    return found


def proofs() -> list[Any]:
    return [
        str(report)
        for report in (
            check_layer(fn.gelu(), (3,), key=KEY),
            check_loss(fn.softmax_cross_entropy(), (3,), targets=class_labels, key=KEY),
            check_penalty(fn.l1(0.1), (3,), key=KEY),
        )
    ]


def arrays_in(made: Any) -> Iterator[bytes | str]:
    """All bits within: of arrays, and of numbers."""
    if isinstance(made, np.ndarray):
        yield made.tobytes()
    elif isinstance(made, tuple | list):
        for part in made:
            yield from arrays_in(part)
    elif attrs.has(type(made)):
        for field in attrs.fields(type(made)):
            yield from arrays_in(getattr(made, field.name))
    else:
        yield made.hex() if isinstance(made, float) else repr(made)


@contextmanager
def caller(errors: Any, on_warning: Any) -> Iterator[None]:
    with np.errstate(all=errors), warnings.catch_warnings():
        warnings.simplefilter(on_warning)
        before = np.geterr()
        yield
        assert np.geterr() == before


EVERYTHING = [
    layers, losses, penalties, updates, rates, steps, draws, examinations, training, divergences, proofs,
]  # fmt: skip


@pytest.mark.parametrize("run", EVERYTHING)
def test_the_callers_settings_change_no_bit(run: Callable[[], list[Any]]) -> None:
    with caller("ignore", "ignore"):
        wanted = list(arrays_in(run()))
    for errors in ("raise", "warn"):
        with caller(errors, "error"):
            assert list(arrays_in(run())) == wanted


def test_a_report_is_written_whatever_the_callers_settings(tmp_path: Path) -> None:
    """On numbers that underflow in the figures' scales."""
    run = run_record()
    small = tuple(
        attrs.evolve(epoch, update_ratios=tuple((path, 1e-320) for path, _ in epoch.update_ratios))
        for epoch in run.history
    )
    with caller("raise", "error"):
        assert write_report([attrs.evolve(run, history=small)], tmp_path)
