import pickle
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.data.dataset import Dataset, Split
from funcnet.examination import describe, examine
from funcnet.layer import AnyLayer
from funcnet.views import reflected

KEY = fn.make_key(0)
NET = fn.chain(fn.conv2d(3), fn.batch_norm(), fn.relu(), fn.dropout(0.2), fn.flatten(), fn.linear(4))
X = fn.random.normal(fn.make_key(1), (7, 5, 6, 2))
PARAMS, _ = NET.init(KEY, (5, 6, 2))
LABELS = np.arange(7) % 4


def moved(x: np.ndarray, pixels: int) -> np.ndarray:
    """By padding and cropping."""
    wide = np.pad(x, ((0, 0), (abs(pixels),) * 2, (abs(pixels),) * 2, *((0, 0) for _ in x.shape[3:])), "reflect")
    begin = abs(pixels) + pixels
    return wide[:, begin : begin + x.shape[1], begin : begin + x.shape[2]]


def averaged(net: AnyLayer, params: Any, x: np.ndarray, shift: int = 1) -> np.ndarray:
    """The six views, written out."""
    total = np.zeros(net.predict(params, x).shape)
    for weight, pixels in ((0.5, 0), (0.25, shift), (0.25, -shift)):
        view = moved(x, pixels)
        total += weight * (net.predict(params, view) + net.predict(params, view[:, :, ::-1])) / 2
    return total


@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_predictions_are_means_over_views(engine: Any) -> None:
    for shift in (1, 2):
        net = fn.average_views(NET, shift=shift)
        made = fn.make_predict(net, (PARAMS,), engine=engine)(X)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, averaged(NET, PARAMS, X, shift), atol=1e-5)
    plain = NET.predict(PARAMS, X)
    mirrored = fn.average_views(NET, shift=0).predict((PARAMS,), X)
    np.testing.assert_allclose(mirrored, (plain + NET.predict(PARAMS, X[:, :, ::-1])) / 2, atol=1e-6)
    upright = fn.average_views(NET, mirror=False).predict((PARAMS,), X)
    two = NET.predict(PARAMS, moved(X, 1)) + NET.predict(PARAMS, moved(X, -1))
    np.testing.assert_allclose(upright, plain / 2 + two / 4, atol=1e-6)


def test_grey_images_without_an_axis_of_channels() -> None:
    net = fn.chain(fn.flatten(), fn.linear(4))
    params, _ = net.init(KEY, (5, 6))
    np.testing.assert_allclose(
        fn.average_views(net).predict((params,), X[..., 0]), averaged(net, params, X[..., 0]), atol=1e-5
    )


@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_it_trains_as_the_network_does(engine: Any) -> None:
    loss, optimizer = fn.softmax_cross_entropy(), fn.momentum(0.1)
    for net, params in ((fn.chain(NET), (PARAMS,)), (fn.average_views(NET), (PARAMS,))):
        state = fn.init_state(params, optimizer, KEY)
        step = fn.make_step(net, loss, optimizer, engine=engine)
        for _ in range(3):
            state, _ = step(state, fn.Batch(X, LABELS))
        if net.kind == "sequence":
            wanted = state
    assert tree.equal(state.params, wanted.params)
    params, _ = fn.average_views(NET).init(KEY, (5, 6, 2))
    assert tree.equal(params, fn.chain(NET).init(KEY, (5, 6, 2))[0])


def test_evaluation_and_examination_are_of_the_mean() -> None:
    net, params = fn.average_views(NET), (PARAMS,)
    wanted = averaged(NET, PARAMS, X)
    loss = fn.softmax_cross_entropy()
    evaluation = fn.evaluate(net, params, [fn.Batch(X, LABELS)], loss)
    assert evaluation.data_loss == pytest.approx(loss(wanted, LABELS)[0], rel=1e-5)
    found = examine(net, params, Split(X, LABELS))
    confusion = np.zeros((4, 4), int)
    np.add.at(confusion, (LABELS, wanted.argmax(axis=1)), 1)
    assert found.answers is not None
    assert np.array(found.answers.confusion).tolist() == confusion.tolist()
    assert [(unit.path, unit.units) for unit in found.activity] == [("[0][2]", 90)]


def test_units_of_a_view_count_as_active() -> None:
    """A unit that looks at the left border alone is on in the mirror image."""
    net = fn.chain(fn.flatten(), fn.linear(1), fn.relu())
    params, _ = net.init(KEY, (1, 2))
    weight = np.array([[1.0], [-1.0]], np.float32)
    params = ((), attrs.evolve(params[1], weight=weight), ())
    split = Split(np.array([[[0.0, 1.0]]], np.float32), np.array([[0.5]], np.float32))
    assert examine(net, params, split).activity[0].never_active == 1
    assert examine(fn.average_views(net, shift=0), (params,), split).activity[0].never_active == 0


def test_its_layers_are_told_once() -> None:
    inside = describe(NET, (5, 6, 2))
    around = describe(fn.average_views(NET), (5, 6, 2))
    assert [attrs.evolve(fact, opens=()) for fact in around] == [
        attrs.evolve(fact, path=f"[0]{fact.path}", opens=()) for fact in inside
    ]
    assert [(one.path, one.kind) for one in around[0].opens] == [("", "views"), ("[0]", "sequence")]


def test_it_is_saved_and_pickled(tmp_path: Path) -> None:
    net = fn.average_views(NET, shift=2)
    data = Dataset("made up", *2 * (Split(X, LABELS),), tuple("abcd"))
    fn.save_model(tmp_path / "model", fn.make_model(net, (PARAMS,), data))
    wanted = net.predict((PARAMS,), X)
    np.testing.assert_allclose(fn.load_model(tmp_path / "model").predict(X), wanted, atol=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(net)).predict((PARAMS,), X), wanted)
    assert net.name == f"average_views({NET.name})"


def test_a_part_of_a_network_may_average() -> None:
    net = fn.chain(fn.average_views(NET), fn.linear(2))
    params, _ = net.init(KEY, (5, 6, 2))
    inner = averaged(NET, params[0][0], X).astype(np.float32)
    np.testing.assert_allclose(fn.make_predict(net, params)(X), fn.linear(2).predict(params[1], inner), atol=1e-5)


@pytest.mark.usefixtures("as_users_run")
def test_what_is_refused() -> None:
    for error, message, make in (
        (ValueError, "without mirror images and shifts there is one view",
         lambda: fn.average_views(NET, mirror=False, shift=0)),
        (ValueError, "the shift of a view is a whole number from 0 up", lambda: fn.average_views(NET, shift=-1)),
        (TypeError, "average_views takes a network, got <function linear", lambda: fn.average_views(fn.linear)),
        (TypeError, "freeze the network inside it", lambda: fn.frozen(fn.average_views(NET))),
        (TypeError, "freeze the network inside it", lambda: fn.frozen(fn.chain(fn.average_views(NET), fn.relu()))),
        (fn.ShapeError, r"average_views: expected images of shape .*, got \(5,\)",
         lambda: fn.average_views(fn.linear(3)).init(KEY, (5,))),
        (fn.ShapeError, r"average_views\[0\].*: expected x of shape",
         lambda: fn.average_views(NET).predict((PARAMS,), X[..., :1])),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            make()
    frozen = fn.average_views(fn.frozen(NET))
    params, _ = frozen.init(KEY, (5, 6, 2))
    assert frozen.predict(params, X).shape == (7, 4)


def test_places_are_reflected_as_numpy_pads() -> None:
    for length in (1, 2, 3, 5):
        wanted = np.pad(np.arange(length), 7, "reflect")
        assert np.array_equal(reflected(np.arange(-7, length + 7), length), wanted)
