"""A short training, to be run in a process of its own: ``python short_training.py OUT`` writes its numbers to OUT.npz.

Its products are large enough for BLAS to use all its threads and blocks. The linear layer before the batch norm has no
bias: the gradient of such a bias is nothing but rounding.
"""

import sys

import numpy as np

import funcnet as fn
from funcnet import tree
from funcnet.data.dataset import Dataset, Split

__all__ = ["numbers"]

KEY = fn.make_key(3)


def numbers() -> dict[str, np.ndarray]:
    """The parameters, the losses of each epoch and the last predictions, by their names."""
    draw = np.random.default_rng(0)
    x, centres = draw.standard_normal((300, 300)).astype(np.float32), draw.standard_normal((300, 5))
    data = Split(x, (x @ centres).argmax(axis=1))
    net = fn.chain(
        fn.linear(257, bias=False), fn.batch_norm(), fn.gelu(), fn.dropout(0.1), fn.residual(fn.linear(257), fn.tanh()),
        fn.linear(64), fn.softplus(), fn.linear(5),
    )  # fmt: skip
    params, _ = net.init(KEY, (300,))
    optimizer = fn.momentum(0.05)
    *_, last = records = list(
        fn.train(
            net, fn.init_state(params, optimizer, KEY), Dataset("rows", data, data, ()),
            loss=fn.softmax_cross_entropy(), optimizer=optimizer, penalties=fn.each_weight(fn.l2(1e-4), params),
            epochs=3, batch_size=60,
        )
    )  # fmt: skip
    found = dict(tree.named_leaves(last.params))
    found["losses"] = np.array([[r.train.loss, r.test.accuracy, r.running.data_loss] for r in records])
    found["predictions"] = fn.make_predict(net, last.params)(x)
    return found


if __name__ == "__main__":
    np.savez(sys.argv[1], **numbers())
