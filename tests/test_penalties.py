import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet.check import check_penalty
from funcnet.check.strategies import keys, shapes
from funcnet.combinators import chain
from funcnet.layers.activations import relu
from funcnet.layers.linear import linear
from funcnet.penalties import each_weight, l1, l2
from funcnet.random import Key, make_key
from funcnet.shapes import Shape


@settings(max_examples=20)
@given(shapes(), st.sampled_from([0, 0.3, 2]), keys())
def test_proof(shape: Shape, coefficient: float, key: Key) -> None:
    for penalty in (l1(coefficient), l2(coefficient)):
        check_penalty(penalty, shape, key=key)


def test_known_values() -> None:
    w = np.array([[3.0, -4], [0, 0]])
    assert l2(0.1)(w)[0] == pytest.approx(0.1 / 2 * 25)
    np.testing.assert_allclose(l2(0.1)(w)[1], 0.1 * w)
    assert l1(0.1)(w)[0] == pytest.approx(0.7)
    np.testing.assert_allclose(l1(0.1)(w)[1], [[0.1, -0.1], [0, 0]])


def test_the_order_in_memory_does_not_matter() -> None:
    w = np.arange(6.0).reshape(2, 3)
    for penalty in (l1(1), l2(1)):
        assert penalty.value(np.asfortranarray(w)) == penalty.value(w)
        assert penalty.value(w.T) == penalty.value(w)


def test_each_weight_spares_biases_unless_asked() -> None:
    params, _ = chain(linear(3), relu(), linear(2, bias=False)).init(make_key(0), (4,))
    penalty = l2(0.5)
    assert each_weight(penalty, params) == {"[0].weight": penalty, "[2].weight": penalty}
    assert list(each_weight(penalty, params, biases=True)) == ["[0].weight", "[0].bias", "[2].weight"]


@pytest.mark.parametrize("coefficient", [-1, math.nan, math.inf])
@pytest.mark.parametrize("penalty", [l1, l2])
def test_coefficients_are_finite_and_not_negative(penalty: object, coefficient: float) -> None:
    with pytest.raises(ValueError, match="coefficient is finite and not negative"):
        penalty(coefficient)


@pytest.mark.usefixtures("as_users_run")
def test_a_word_is_no_coefficient() -> None:
    with pytest.raises(ValueError, match="a penalty's coefficient is finite and not negative, got '1'"):
        l2("1")


def test_a_coefficient_of_numpys_keeps_float32() -> None:
    w = np.ones((2, 3), np.float32)
    assert l2(np.float64(0.5)).grad(w).dtype == l1(np.float64(0.5)).grad(w).dtype == np.float32
