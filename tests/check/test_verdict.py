"""What the checks refuse to begin with."""

from collections.abc import Callable
from typing import Any

import pytest

import funcnet as fn
from funcnet.check import check_layer, check_loss, check_optimizer, check_penalty, check_step, class_labels

pytestmark = pytest.mark.usefixtures("as_users_run")

KEY = fn.make_key(0)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_layer(fn.linear, (3,), key=KEY), r"a Layer, got a function \(call it to make the layer\)"),
        (
            lambda: check_loss(fn.softmax_cross_entropy, (3,), targets=class_labels, key=KEY),
            r"a Loss, got a function \(call it to make the loss\)",
        ),
        (lambda: check_penalty(fn.l2, (3, 2), key=KEY), r"a Penalty, got a function \(call it"),
        (lambda: check_optimizer(fn.sgd, key=KEY), r"an Optimizer, got a function \(call it"),
        (lambda: check_optimizer(0.1, key=KEY), "an Optimizer, got a float$"),
        (
            lambda: check_step(
                fn.linear(3), fn.softmax_cross_entropy, fn.sgd(0.1), in_shape=(2,), targets=class_labels, key=KEY
            ),
            "check_step checks a Loss, got a function",
        ),
        (lambda: check_penalty(fn.l2(0.1), (3, 2), key=0), r"expected a key \(make_key\(0\) makes"),
    ],
)
def test_what_is_nothing_to_prove_is_said(check: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        check()
