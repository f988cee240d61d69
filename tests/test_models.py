"""The networks: their sizes, as published, and training beside PyTorch from the same first weights."""

import itertools
import os
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.combinators import chain
from funcnet.data import Dataset, Split
from funcnet.data.batches import normalization
from funcnet.models import lenet, mlp, resnet, speednet

WHITENING = fn.patch_whitening(np.random.default_rng(0).standard_normal((50, 8, 8, 3), np.float32))


@pytest.mark.parametrize(
    ("net", "in_shape", "classes", "trained"),
    [
        (mlp(256, 10), (28, 28, 1), 10, 784 * 256 + 256 + 2570),
        (mlp(3), (4,), 3, 15),
        (lenet(), (28, 28, 1), 10, 61_706),  # the usual count where every filter sees every channel
        (resnet(20), (32, 32, 3), 10, 269_722 + 2_752),  # table 6 of the paper, and the shortcuts of option B
        (resnet(32), (32, 32, 3), 10, 464_154 + 2_752),
        (resnet(44, 100), (32, 32, 3), 100, 658_586 + 2_752 + 90 * 65),
        (resnet(18, 1000), (64, 64, 3), 1000, 11_689_512),  # torchvision's
        (speednet(WHITENING), (32, 32, 3), 10, 1_971_352),
    ],
    ids=lambda value: f"{value}"[:30],
)
def test_sizes(net: Any, in_shape: tuple[int, ...], classes: int, trained: int) -> None:
    params, out_shape = net.init(fn.make_key(0), in_shape)
    assert out_shape == (classes,)
    assert sum(array.size for array in tree.leaves(tree.trained(params))) == trained
    assert all(array.dtype == np.float32 for array in tree.leaves(params))


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="18, 20, 32, 44"):
        resnet(50)
    with pytest.raises(ValueError, match="at least one width"):
        mlp()


def test_the_speed_networks_convolutions_begin_as_the_identity() -> None:
    net = speednet(WHITENING)
    params, _ = net.init(fn.make_key(0), (32, 32, 3))
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 64), np.float32)
    y, _ = net.children[7][1].forward(params[7], x)
    np.testing.assert_allclose(y, x, rtol=1e-6)


# --- beside PyTorch


def torch_lenet(nn: Any) -> Any:
    class Flatten(nn.Module):  # channels last, as our linear layer sees them
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip


def torch_resnet20(nn: Any) -> Any:
    def normed(before: int, filters: int, kernel: int, stride: int = 1) -> list[Any]:
        conv = nn.Conv2d(before, filters, kernel, stride, kernel // 2, bias=False)
        return [conv, nn.BatchNorm2d(filters)]

    class Block(nn.Module):
        def __init__(self, before: int, filters: int) -> None:
            super().__init__()
            stride = 1 if before == filters else 2
            first = normed(before, filters, 3, stride)
            self.branch = nn.Sequential(*first, nn.ReLU(), *normed(filters, filters, 3))
            self.shortcut = nn.Sequential(*(normed(before, filters, 1, stride) if stride == 2 else []))

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.branch(x) + self.shortcut(x))

    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(before, filters) for before, filters in itertools.pairwise(widths)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    return nn.Sequential(*normed(3, 16, 3), nn.ReLU(), *blocks, *head)


def give(theirs: Any, params: Any, torch: Any) -> None:
    """Our weights to their network, which has its arrays in the same order."""
    ours = [array for _, array in tree.named_leaves(tree.trained(params))]
    for parameter, array in zip(theirs.parameters(), ours, strict=True):
        axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[array.ndim]
        parameter.data = torch.from_numpy(array.transpose(axes).copy())


def images_like(name: str, in_shape: tuple[int, ...]) -> Dataset:
    """The data set, where it is; else random images."""
    if os.environ.get("FUNCNET_DATA"):
        return fn.load(name)
    draws = np.random.default_rng(0)
    split = Split(draws.integers(0, 256, (400, *in_shape)).astype(np.uint8), draws.integers(0, 10, 400))
    return Dataset("random", split, split, tuple("0123456789"))


@pytest.mark.parametrize("name", ["lenet", "resnet"])
def test_twenty_steps_are_those_of_pytorch(name: str) -> None:
    """From the same first weights, with the same batches: the losses in float64 agree to 1e-8."""
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
    if name == "lenet":
        data, net = images_like("fashion-mnist", (28, 28)), chain(fn.reshape(28, 28, 1), lenet())
        theirs, augment, rate, decay = torch_lenet(torch.nn), None, 0.05, 0.0
    else:  # section 4.2 of the paper
        data, net, theirs = images_like("cifar-10", (32, 32, 3)), resnet(20), torch_resnet20(torch.nn)
        augment, rate, decay = fn.data.augment.compose(fn.data.augment.shift(4), fn.data.augment.flip()), 0.05, 1e-4
    params = tree.map(lambda array: array.astype(np.float64), net.init(fn.make_key(0), data.train.in_shape)[0])
    give(theirs.double(), params, torch)
    their_optimizer = torch.optim.SGD(theirs.parameters(), rate, momentum=0.9, weight_decay=decay)
    optimizer = fn.momentum(rate, 0.9, weight_decay=decay)
    step = fn.make_step(net, fn.softmax_cross_entropy(), optimizer)
    state = fn.init_state(params, optimizer, fn.make_key(0))
    made = fn.data.batches(data.train, 4, normalize=normalization(data.train.x), key=fn.make_key(1), augment=augment)
    for batch in itertools.islice(made, 20):
        x, y = batch.x.astype(np.float64), batch.y.astype(np.int64)
        state, metrics = step(state, fn.Batch(x, y))
        their_optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(np.moveaxis(x.reshape(*x.shape[:3], -1), 3, 1).copy())), torch.from_numpy(y)
        )
        loss.backward()
        their_optimizer.step()
        assert metrics.data_loss == pytest.approx(loss.item(), abs=1e-8)
