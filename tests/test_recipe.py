import json
import pickle
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given

import funcnet as fn
from funcnet.check.registry import LAYERS, LayerEntry
from funcnet.check.strategies import chains
from funcnet.layer import AnyLayer
from funcnet.recipe import _same, describe, make


def made_again(layer: AnyLayer) -> AnyLayer:
    """By way of a text."""
    return make(json.loads(json.dumps(describe(layer), allow_nan=False)))


@pytest.mark.parametrize("entry", LAYERS, ids=lambda entry: entry.name)
def test_every_layer_of_the_registry(entry: LayerEntry) -> None:
    plain = (entry.layer, fn.chain(entry.layer), fn.parallel(entry.layer, fn.identity()), fn.residual(entry.layer))
    can_freeze = entry.layer.kind != "views"
    frozen = (fn.frozen(entry.layer), fn.frozen(fn.residual(fn.frozen(entry.layer), entry.layer))) if can_freeze else ()
    for layer in (*plain, *frozen):
        again = made_again(layer)
        assert again.name == layer.name
        assert describe(again) == describe(pickle.loads(pickle.dumps(layer))) == describe(layer)
        assert layer.children or _same(again, layer)


@given(net=chains())
def test_any_network(net: AnyLayer) -> None:
    assert describe(made_again(net)) == describe(net)


@pytest.mark.parametrize(
    ("layer", "other"),
    [
        (fn.linear(3), fn.linear(4)),
        (fn.linear(3), fn.linear(3, bias=False)),
        (fn.linear(3), fn.linear(3, init=fn.glorot)),
        (fn.batch_norm(), fn.batch_norm(epsilon=1e-3)),
        (fn.batch_norm(), fn.batch_norm(keep=0.5)),
        (fn.batch_norm(), fn.batch_norm(scale=False)),
        (fn.reshape(2, 3), fn.reshape(3, 2)),
        (fn.transpose(0, 1, 2), fn.transpose(0, 2, 1)),
        (fn.group_norm(2), fn.group_norm(3)),
        (fn.repeat(fn.relu(), 2, tied=True), fn.repeat(fn.relu(), 3, tied=True)),
        (fn.checkpoint(fn.relu()), fn.chain(fn.relu())),
        (fn.dropout(0.5), fn.dropout(0.25)),
        (fn.leaky_relu(0.1), fn.leaky_relu(0.2)),
        (fn.parallel(fn.relu()), fn.parallel(fn.relu(), merge="concatenation")),
        (fn.chain(fn.relu(), fn.tanh()), fn.chain(fn.tanh(), fn.relu())),
        (fn.frozen(fn.linear(3)), fn.linear(3)),
    ],
    ids=str,
)
def test_what_tells_layers_apart(layer: AnyLayer, other: AnyLayer) -> None:
    assert describe(layer) != describe(other)
    assert not _same(layer, other)


def test_a_description_reads_well() -> None:
    net = fn.chain(fn.flatten(), fn.residual(fn.dropout(0.5)), fn.linear(10, init=fn.glorot))
    assert describe(net) == {
        "chain": {
            "layers": [
                {"flatten": {}},
                {"residual": {"layers": [{"dropout": {"rate": 0.5}}]}},
                {"linear": {"width": 10, "bias": True, "init": "glorot"}},
            ]
        }
    }


def test_initializers_with_options() -> None:
    layer = fn.conv2d(4, init=partial(fn.dirac, rest=partial(fn.constant, value=0.5)))
    assert describe(layer)["conv2d"]["init"] == {"dirac": {"rest": {"constant": {"value": 0.5}}}}
    params, again = (net.init(fn.make_key(0), (5, 5, 2))[0] for net in (layer, made_again(layer)))
    assert fn.tree.equal(params, again)


def test_given_values_are_not_described() -> None:
    layer = fn.linear(3, init=partial(fn.given, values=np.ones((2, 3), np.float32)))
    again = made_again(layer)
    assert describe(again) == describe(layer) == {"linear": {"width": 3, "bias": True, "init": "given"}}
    with pytest.raises(ValueError, match="the initial values are not known"):
        again.init(fn.make_key(0), (2,))
    other = fn.linear(3, init=partial(fn.given, values=np.zeros((2, 3), np.float32)))
    with pytest.raises(ValueError, match="a field was replaced"):
        describe(attrs.evolve(layer, init=other.init))


def mine(*_: Any) -> Any:
    """A function of a user's."""


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (fn.Layer("mine", mine, mine, mine), "mine is none of funcnet's own layers"),
        (fn.chain(fn.relu(), fn.Layer("mine", mine, mine, mine)), "mine is none of funcnet's own layers"),
        (fn.Layer("mine", mine, mine, mine, recipe=mine), "mine is none of funcnet's own layers"),
        (attrs.evolve(fn.relu(), vjp=mine), r"relu is no longer what relu\(\) made: a field was replaced"),
        (attrs.evolve(fn.relu(), name="my relu"), r"my relu is no longer what relu\(\) made"),
        (fn.frozen(attrs.evolve(fn.linear(3), forward=mine)), r"linear\(3\) is no longer what linear\(\) made"),
        (attrs.evolve(fn.chain(fn.relu()), predict=mine), r"chain\(relu\) is no longer what chain\(\) made"),
        (attrs.evolve(fn.batch_norm(), frozen=fn.relu()), "batch_norm is no longer what"),
        (attrs.evolve(fn.residual(fn.relu()), children=()), r"residual\(relu\) is no longer what"),
        (fn.linear(3, init=mine), r"an argument of linear\(3\) is none of funcnet's own initializers: <function mine"),
    ],
)
def test_what_cannot_be_described(layer: AnyLayer, message: str) -> None:
    for net in (layer, fn.chain(fn.flatten(), layer)):
        with pytest.raises(ValueError, match=message):
            describe(net)


@pytest.mark.parametrize(
    "description",
    [
        None, [], {}, "relu", {"relu": {}, "tanh": {}}, {"relu": None}, {"relu": {"x": 1}}, {"os.system": {"x": "ls"}},
        {"eval": {"source": "1"}}, {"linear": {}}, {"linear": {"width": "3"}}, {"linear": {"width": -1}},
        {"linear": {"width": 3, "init": "os.system"}}, {"linear": {"width": 3, "init": {"relu": {}}}},
        {"linear": {"width": 3, "init": ["he"]}}, {"linear": {"width": {"relu": {}}}}, {"chain": {}},
        {"chain": {"layers": []}}, {"chain": {"layers": ["relu"]}}, {"chain": {"layers": 5}},
        {"dropout": {"rate": None}}, {"dropout": {"rate": "x"}}, {"batch_norm": {"keep": [1]}}, {"__class__": {}},
        {"linear": {"width": 3, "init": {"constant": {"value": "x"}}}},
        {"linear": {"width": 3, "init": {"he": {"key": 1}}}}, {"linear": {"width": 3, "init": {"he": 1, "zeros": 1}}},
        {"linear": {"width": 3, "init": {"dirac": {"rest": "eval"}}}},
        {"linear": {"width": 3, "init": {"constant": [1]}}}, {"reshape": {"shape": ["x"]}}, {"transpose": {"axes": 1}},
        {"repeat": {"layer": {"relu": {}}, "times": 0}}, {"repeat": {"layer": "relu", "times": 2}},
        {"parallel": {"layers": [{"relu": {}}], "merge": "he"}}, {"leaky_relu": {"layers": [{"relu": {}}]}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_description_is_refused(description: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        make(description)
