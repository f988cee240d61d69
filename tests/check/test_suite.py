import attrs
import numpy as np
import pytest

import funcnet as fn
from funcnet.check import CheckReport
from funcnet.check.suite import Subject, subject_of, subjects
from funcnet.layer import Layer
from funcnet.layers.activations import tanh
from funcnet.layers.linear import linear
from funcnet.losses import (
    Loss,
    binary_cross_entropy,
    focal_loss,
    kl_divergence,
    mean_squared_error,
    softmax_cross_entropy,
)
from funcnet.optimizers import Optimizer, sgd
from funcnet.penalties import Penalty, l2
from funcnet.random import make_key

pytestmark = pytest.mark.usefixtures("as_users_run")


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_every_subject_holds(subject: Subject) -> None:
    reports = [subject.check(make_key(seed)) for seed in range(3)]
    assert all(isinstance(report, CheckReport) and report.compared for report in reports)
    assert len({report.claim.call for report in reports}) == 3


def test_nothing_public_is_left_out() -> None:
    """Every public function that makes a layer, a loss, a penalty or an optimizer is in the registry."""
    named = " ".join(subject.name for subject in subjects()).lower().replace("_", " ").replace("-", " ")
    made = {Layer: ["chain"], Loss: [], Penalty: [], Optimizer: []}
    for name in fn.__all__:
        annotation = str(getattr(getattr(fn, name), "__annotations__", {}).get("return", ""))
        for kind, makers in made.items():
            if annotation.startswith((kind.__name__, "AnyLayer" if kind is Layer else kind.__name__)):
                makers.append(name)
    assert all(len(makers) >= 2 for makers in made.values()), made
    for maker in (maker for makers in made.values() for maker in makers):
        if maker not in ("compose", "patch_whitening"):  # the second is a frozen conv2d
            assert maker.replace("_", " ") in named, maker


@pytest.mark.parametrize(
    "found",
    [
        tanh,
        tanh(),
        softmax_cross_entropy,
        binary_cross_entropy(),
        mean_squared_error(),
        kl_divergence(),
        focal_loss(class_weights=(1, 2, 3)),
        l2(0.1),
        sgd(0.1),
        lambda: sgd(1),
    ],
)
def test_what_a_name_stands_for_is_found_out(found: object) -> None:
    assert subject_of(found).check(make_key(0)).compared > 0


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="only layers, losses, penalties and optimizers can be proven, got 3"):
        subject_of(3)
    with pytest.raises(TypeError, match="takes neither class labels nor shares nor real numbers"):
        subject_of(attrs.evolve(mean_squared_error(), value_and_grad=lambda prediction, target: None))


def test_layers_get_shapes_that_they_take() -> None:
    images_only = attrs.evolve(tanh(), init=lambda key, shape: ((), (shape[0], shape[1], shape[2])))
    seen = {subject_of(images_only).check(make_key(seed)).claim.inputs for seed in range(5)}
    assert all(inputs.count(",") == 2 for inputs in seen)
    seen = {subject_of(images_only, (4, 4, 1)).check(make_key(seed)).claim.inputs[-9:] for seed in range(3)}
    assert seen == {"(4, 4, 1)"}


def test_a_layer_that_takes_no_shape_says_what_to_do() -> None:
    def init(key: object, shape: object) -> object:
        raise ValueError("I take (784,)")

    picky: Layer[tuple[()], object] = attrs.evolve(tanh(), init=init)
    with pytest.raises(ValueError, match=r"--in-shape.*It said: I take \(784,\)"):
        subject_of(picky).check(make_key(0))


def test_linear_layers_are_met_in_every_size() -> None:
    inputs = {subject_of(linear(2)).check(make_key(seed)).claim.inputs for seed in range(30)}
    assert len(inputs) > 12
    assert np.any([text.startswith("a batch of 1 x") for text in list(inputs)])
