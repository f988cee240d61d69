import pickle
import re
import textwrap
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from saboteurs import edited, examples_mixed

from funcnet import random
from funcnet.check import CheckError, check_layer
from funcnet.combinators import chain
from funcnet.layer import Layer
from funcnet.layers.activations import relu, tanh
from funcnet.layers.linear import linear
from funcnet.random import Key, make_key
from funcnet.shapes import Array, Shape

pytestmark = pytest.mark.usefixtures("as_users_run")

KEY = make_key(0)


def of(f: Any, slope: Any) -> Layer[Any, Any]:
    """The layer of any function of one number, as somebody would write it who has never heard of ours."""
    return Layer("mine", lambda key, shape: ((), shape), lambda p, x: (f(x), x.copy()),
                 lambda p, x, dy, need_dx=True: ((), slope(x) * dy))  # fmt: skip


def test_the_report_says_what_was_compared() -> None:
    report = check_layer(linear(4), (5,), key=KEY)
    by_name = {p.name: p for p in report.properties}
    entries = 3 * 5 + 5 * 4 + 4
    assert by_name["gradient, entry by entry"].compared == entries
    assert by_name["adjoint identity, along random directions"].compared == 3
    assert by_name["batch additivity"].compared == entries + 3 * 4
    assert by_name["gradient, entry by entry"].note == "confirmed by the complex step in 3 of 3 arrays"
    assert report.worst.worst < 0.1
    assert report.compared == sum(p.compared for p in report.properties)
    assert str(report).startswith("linear(4) on a batch of 3 x (5,): all held\n")


def test_the_same_key_finds_the_same() -> None:
    net = chain(linear(4), relu(), linear(2))
    assert check_layer(net, (3,), key=KEY) == check_layer(net, (3,), key=KEY)
    assert check_layer(net, (3,), key=KEY) != check_layer(net, (3,), key=make_key(1))


def test_the_message_has_all_the_evidence() -> None:
    wrong = edited(linear(2), "weight", lambda a, dy: -a)
    with pytest.raises(CheckError) as caught:
        check_layer(wrong, (3,), key=KEY, batch=4)
    refutation = caught.value.refutation
    assert refutation.where.startswith("params.weight[")
    assert refutation.analytic == pytest.approx(-refutation.numeric)
    assert refutation.ratio == pytest.approx(-1)
    assert 0 < refutation.tolerance < 1e-10
    assert str(caught.value).splitlines() == [
        "linear(2): the gradient is not the derivative of the function",
        f"  where     {refutation.where}",
        f"  analytic  {refutation.analytic:.10g}",
        f"  numeric   {refutation.numeric:.10g}  (may be off by {refutation.tolerance:.1e})",
        "  ratio     -1, in every wrong entry",
        "  seen      6 of 6 entries of params.weight are wrong",
        "  likely    a flipped sign",
        "  inputs    a batch of 4 x (3,)",
        f"  again     check_layer(linear(2), (3,), batch=4, key={KEY})",
    ]
    assert isinstance(caught.value, AssertionError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_example_of_the_docs() -> None:
    wrong = edited(linear(2), "weight", lambda a, dy: a / max(1, len(dy)))
    with pytest.raises(CheckError) as caught:
        check_layer(wrong, (3,), key=KEY, batch=4)
    said = re.sub(r"(?<=off by )\S+(?=\))", "...", str(caught.value))  # rounding differs from machine to machine
    page = (Path(__file__).parents[2] / "docs" / "proving-derivatives.md").read_text()
    assert textwrap.indent(said, "    ") in re.sub(r"(?<=off by )\S+(?=\))", "...", page)


def test_kinks_are_kept_away_from_and_told() -> None:
    report = check_layer(relu(), (50,), key=KEY)
    (entries,) = (p for p in report.properties if p.name == "gradient, entry by entry")
    assert "to keep clear of kinks" in entries.note
    assert entries.compared == 64  # of the 150


def max_pool() -> Layer[Any, Any]:
    """Over all but the batch, as somebody would write it; ties go to the first."""

    def forward(params: Any, x: Array) -> Any:
        return x.max(axis=1, keepdims=True), x.argmax(axis=1)

    def vjp(params: Any, where: Array, dy: Array, need_dx: bool = True) -> Any:
        dx = np.zeros((len(dy), 4), dy.dtype)
        dx[np.arange(len(dy)), where] = dy[:, 0]
        return (), dx

    return Layer("max_pool", lambda key, shape: ((), (1,)), forward, vjp)


def test_ties_are_left_out_and_told() -> None:
    def with_a_tie(key: Key, shape: Shape) -> Array:
        x = random.normal(key, shape)
        x[0, :2] = 3
        return x

    check_layer(max_pool(), (4,), key=KEY)
    report = check_layer(max_pool(), (4,), key=KEY, draw=with_a_tie)
    assert "2 entries on a kink left out" in report.properties[2].note


def test_what_is_differentiable_nowhere_is_refuted() -> None:
    with pytest.raises(CheckError, match="could not be differentiated where it was tried"):
        check_layer(of(lambda x: np.sin(1e12 * x), lambda x: 1e12 * np.cos(1e12 * x)), (4,), key=KEY)


def test_the_complex_step_is_used_only_where_it_agrees() -> None:
    """The modulus of a complex number is no analytic function, and does not pass for one."""
    report = check_layer(of(np.abs, np.sign), (4,), key=KEY)
    assert "complex" not in report.properties[2].note
    report = check_layer(of(np.sin, np.cos), (4,), key=KEY)
    assert "complex step in 1 of 1" in report.properties[2].note


def test_inputs_can_be_kept_in_the_domain() -> None:
    logarithm = of(np.log, lambda x: 1 / x)
    check_layer(logarithm, (4,), key=KEY, draw=lambda key, shape: random.uniform(key, shape, 0.5, 2))
    with pytest.raises(ValueError, match="draw should give finite inputs of shape"):
        check_layer(logarithm, (4,), key=KEY, draw=lambda key, shape: np.ones(3))


def test_no_parameter_is_left_at_zero() -> None:
    """The gradient of this one is right at zero, where init puts it, and nowhere else."""
    squared = Layer(
        "squared", lambda key, shape: (np.zeros(shape, np.float32), shape), lambda p, x: (x + p * p, None),
        lambda p, residuals, dy, need_dx=True: (np.zeros_like(p), dy.copy()),
    )  # fmt: skip
    with pytest.raises(CheckError, match="the gradient is zero"):
        check_layer(squared, (3,), key=KEY)


def test_layers_that_mix_examples_can_say_so() -> None:
    check_layer(examples_mixed(tanh()), (4,), key=KEY, mixes_examples=True)


def test_errors_of_the_layer_come_with_the_call_that_shows_them() -> None:
    broken = attrs.evolve(tanh(), forward=lambda params, x: x @ np.ones(99))
    with pytest.raises(ValueError, match="matmul") as caught:
        check_layer(broken, (4,), key=KEY)
    assert caught.value.__notes__ == [
        f"raised while checking tanh on a batch of 3 x (4,); again: check_layer(tanh, (4,), batch=3, key={KEY})"
    ]


def test_a_forward_that_gives_nan_is_refuted() -> None:
    with pytest.raises(CheckError, match="finite inputs give NaN or infinity"), np.errstate(invalid="ignore"):
        check_layer(of(np.sqrt, lambda x: 0.5 / np.sqrt(x)), (4,), key=KEY)


def test_a_network_of_real_size() -> None:
    """Too many entries to measure each: 64 of each array, and all of them along random directions."""
    report = check_layer(chain(linear(64), relu(), linear(10)), (200,), key=KEY, batch=8)
    assert report.properties[2].compared > 4 * 64
    assert report.worst.worst < 1


@pytest.mark.parametrize("batch", [0, 1.5])
def test_a_batch_has_examples(batch: Any) -> None:
    with pytest.raises(ValueError, match="the batch of a check is a whole number from 1 up"):
        check_layer(tanh(), (4,), key=KEY, batch=batch)
