import attrs
import pytest
from runs import run_record

from funcnet.data.glyphs import glyphs_dataset
from funcnet.layer import chain
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.losses import softmax_cross_entropy
from funcnet.optimizers import sgd
from funcnet.random import make_key
from funcnet.record import RunRecord
from funcnet.step import start
from funcnet.train import train


def test_a_run_grows_by_epochs() -> None:
    net, optimizer, data = chain(flatten(), linear(10)), sgd(0.01), glyphs_dataset(make_key(0), 40, 20)
    state = start(net.init(make_key(0), (28, 28))[0], optimizer, make_key(0))
    run = empty = RunRecord("glyphs", seed=0)
    records = list(train(net, state, data, loss=softmax_cross_entropy(), optimizer=optimizer, epochs=2, batch_size=10))
    for record in records:
        run = run.and_epoch(record)
    assert (empty.epochs, run.epochs) == (0, 2)
    assert run.train == tuple(r.train for r in records)
    assert run.test == tuple(r.test for r in records)
    assert (empty.loss_name, run.loss_name) == ("", "softmax cross-entropy")
    assert run.learning_rates == (0.01, 0.01)
    assert run.examples_per_second == tuple(r.examples_per_second for r in records)
    with pytest.raises(ValueError, match="a run of 2 epochs cannot go on with epoch 2"):
        run.and_epoch(records[1])


def test_a_run_is_a_value() -> None:
    assert run_record() == run_record()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        run_record().seed = 1
