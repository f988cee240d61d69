import json
import pickle
from typing import Any

import attrs
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
        {"parallel": {"layers": [{"relu": {}}], "merge": "he"}}, {"leaky_relu": {"layers": [{"relu": {}}]}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_description_is_refused(description: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        make(description)
