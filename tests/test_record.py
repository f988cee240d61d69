import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import numpy as np
import pytest
from runs import run_record

from funcnet import record as record_module
from funcnet.combinators import chain
from funcnet.data.dataset import Dataset, Split
from funcnet.data.glyphs import glyphs_dataset
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.losses import softmax_cross_entropy
from funcnet.optimizers import sgd
from funcnet.random import make_key
from funcnet.record import RunRecord, data_facts, new_run
from funcnet.step import init_state
from funcnet.training import EpochNumbers, EpochRecord, train


def trained(epochs: int) -> list[EpochRecord]:
    net, optimizer, data = chain(flatten(), linear(10)), sgd(0.01), glyphs_dataset(make_key(0), 40, 20)
    state = init_state(net.init(make_key(0), (28, 28))[0], optimizer, make_key(0))
    return list(
        train(net, state, data, loss=softmax_cross_entropy(), optimizer=optimizer, epochs=epochs, batch_size=10)
    )


def test_a_run_grows_by_epochs() -> None:
    run = empty = RunRecord("glyphs", seed=0)
    records = trained(2)
    for record in records:
        run = run.and_epoch(record)
    assert (empty.epochs, run.epochs) == (0, 2)
    assert run.train == tuple(r.train for r in records)
    assert run.test == tuple(r.test for r in records)
    assert (empty.loss_name, run.loss_name) == ("", "softmax cross-entropy")
    assert [e.learning_rate for e in run.history] == [0.01, 0.01]
    assert [e.update_ratios for e in run.history] == [r.update_ratios for r in records]
    assert run.examination == records[-1].examination
    assert run.settings == (("optimizer", "sgd, batches of 10"), ("penalties", "none"), ("engine", "numpy"))
    told = RunRecord("glyphs", seed=0, settings={"optimizer": "mine"}).and_epoch(records[0])
    assert told.settings == (("optimizer", "mine"), ("penalties", "none"), ("engine", "numpy"))
    with pytest.raises(ValueError, match="a run of 2 epochs cannot go on with epoch 2"):
        run.and_epoch(records[1])


def test_a_run_holds_numbers_and_no_network() -> None:
    """So it can be kept for many runs, and written to a file."""
    (record,) = trained(1)
    (numbers,) = RunRecord("glyphs", seed=0).and_epoch(record).history
    assert type(numbers) is EpochNumbers
    assert not any(isinstance(value, np.ndarray) for value in attrs.astuple(numbers))


def test_a_run_is_a_value() -> None:
    assert run_record() == run_record()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        run_record().seed = 1


def test_a_new_run_says_what_it_is_made_of() -> None:
    data = glyphs_dataset(make_key(0), 40, 20)
    run = new_run(
        chain(flatten(), linear(10)), data, seed=3, settings=(("rate", "0.1"),), command="python x.py", epochs=5
    )
    assert (run.dataset, run.seed, run.settings) == ("glyphs", 3, (("rate", "0.1"),))
    assert (run.command, run.planned_epochs, run.epochs) == ("python x.py", 5, 0)
    assert dict(run.environment)["NumPy"] == np.__version__
    assert [layer.name for layer in run.layers] == ["flatten", "linear(10)"]
    assert run.data == data_facts(data)


def test_facts_of_a_data_set() -> None:
    x, y = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2), np.array([0, 2, 2, 0, 2], np.uint8)
    facts = data_facts(Dataset("tiny", Split(x, y), Split(x[:2], y[:2]), ("a", "b", "c")))
    assert (facts.in_shape, facts.dtype, facts.classes) == ((2, 2), "uint8", ("a", "b", "c"))
    assert (facts.train_examples, facts.test_examples) == (5, 2)
    assert (facts.train_counts, facts.test_counts) == ((2, 0, 3), (1, 0, 1))
    assert facts.train_sha256 == hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    assert facts.test_sha256 == hashlib.sha256(x[:2].tobytes() + y[:2].tobytes()).hexdigest()


def test_targets_that_are_no_labels_have_no_counts() -> None:
    x = np.zeros((3, 2), np.float32)
    facts = data_facts(Dataset("lines", Split(x, x), Split(x, x), ()))
    assert (facts.classes, facts.train_counts, facts.test_counts) == ((), (), ())


def test_a_large_set_has_the_checksum_of_its_whole(tmp_path: Path) -> None:
    """It is read by blocks, also where it is not in memory and not contiguous."""
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (9000, 3))
    x[:] = np.arange(27000).reshape(9000, 3)
    y = np.zeros(9000, np.uint8)
    facts = data_facts(Dataset("large", Split(x, y), Split(x[::-1], y), ("a",)))
    assert facts.train_sha256 == hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    assert facts.test_sha256 == hashlib.sha256(x[::-1].tobytes() + y.tobytes()).hexdigest()


def test_a_run_shows_itself_in_a_notebook() -> None:
    run = run_record(epochs=2)
    markdown, html = run._repr_markdown_(), run._repr_html_()
    head, _, first, second = markdown.splitlines()[2:]
    assert markdown.startswith("## cifar-10, seed 7\n")
    assert head.startswith("| Epoch | Training loss | Training cross-entropy | Training penalty | Training accuracy |")
    assert first == "| 1 | 3.750 | 1.500 | 2.250 | 0.500 | 5.250 | 3.000 | 2.250 | 0.250 |"
    assert second.startswith("| 2 | 5.000 | 0.750 |")
    assert "<caption>cifar-10, seed 7</caption>" in html
    assert "<td>3.750</td>" in html


def test_what_a_file_could_not_hold_is_made_fit_for_it_or_refused() -> None:
    run = RunRecord("d", seed=np.int64(3), planned_epochs=np.int32(2), settings=[["rate", 0.1]])
    assert run == RunRecord("d", seed=3, planned_epochs=2, settings=(("rate", "0.1"),))
    assert type(run.seed) is type(run.planned_epochs) is int
    for changes in ({"seed": 1.5}, {"seed": "0"}, {"seed": True}, {"seed": 0, "planned_epochs": 2.5}):
        with pytest.raises(TypeError, match="expected a whole number, found"):
            RunRecord("d", **changes)
    assert RunRecord("d", seed=0, settings={"rate": 0.1}).settings == (("rate", "0.1"),)
    for settings in (["lr"], [("rate", 0.1, 2)], "lr"):
        with pytest.raises(TypeError, match="settings are pairs of a name and a value, or a mapping"):
            RunRecord("d", seed=0, settings=settings)
    with pytest.raises(ValueError, match="expected a number of planned epochs from 0 up, found -1"):
        RunRecord("d", seed=0, planned_epochs=-1)


def one_example(label: object, classes: tuple[object, ...] = ()) -> Dataset:
    split = Split(np.zeros((1, 2), np.uint8), np.array([label]))
    return Dataset("one", split, split, classes)


def test_names_of_classes_are_texts() -> None:
    assert data_facts(one_example(1, (0, 1))).classes == ("0", "1")


@pytest.mark.parametrize("label", [-1, 2**40])
def test_what_is_no_label_is_not_counted(label: int) -> None:
    """Training says what is wrong with it."""
    assert data_facts(one_example(label, ("a", "b"))).train_counts == ()
    assert data_facts(one_example(1, ("a", "b", "c"))).train_counts == (0, 1, 0)


def test_the_checksum_is_of_every_row() -> None:
    """Of one that begins a block too."""
    for count in (1, 4097):
        x = np.zeros((count, 1), np.uint8)
        changed = x.copy()
        changed[-1] = 1
        y = np.zeros(count, int)
        sums = {data_facts(Dataset("d", Split(a, y), Split(x, y), ())).train_sha256 for a in (x, changed)}
        assert len(sums) == 2


def test_only_the_new_epoch_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that recording takes as long in the last epoch as in the first."""
    looked_at = []
    expect_epoch = record_module._expect_epoch

    def watched(place: int, epoch: EpochNumbers, first: EpochNumbers) -> None:
        looked_at.append(place)
        expect_epoch(place, epoch, first)

    monkeypatch.setattr(record_module, "_expect_epoch", watched)
    run = RunRecord("glyphs", 0)
    for record in trained(3):
        run = run.and_epoch(record)
    assert looked_at == [1, 2, 3]
    assert run.history[0].train == run.train[0]
    with pytest.raises(ValueError, match="expected the epochs of a run from 1 on"):
        attrs.evolve(run, history=run.history[1:])


def test_a_wrong_epoch_is_not_recorded() -> None:
    run, (record,) = RunRecord("glyphs", 0), trained(1)
    with pytest.raises(ValueError, match="found a negative time in epoch 1"):
        run.and_epoch(attrs.evolve(record, seconds=-1.0))


def test_a_run_says_when_it_began() -> None:
    data = glyphs_dataset(make_key(0), 20, 10)
    began = datetime.fromisoformat(new_run(chain(flatten(), linear(10)), data, seed=0).started)
    assert abs(datetime.now(UTC) - began) < timedelta(minutes=5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_examples_that_both_parts_have_are_counted(dtype: type, shape: tuple[int, ...]) -> None:
    """Each testing example once, whatever its label, and however often it was trained on."""
    numbers = np.arange(5000) % (251 if dtype is np.uint8 else 5000)
    x = np.broadcast_to(numbers.reshape(-1, *[1] * len(shape)), (5000, *shape)).astype(dtype)
    train = x[:200] if dtype is np.uint8 else x[:2000]
    for test, common in (
        (x[len(train) - 10 : len(train) + 10], 10),
        (x[[0, 0, 1, 199]], 4),
        (x[len(train) : len(train) + 1], 0),
        (train, len(train)),
    ):
        splits = (Split(part, np.full(len(part), label)) for label, part in enumerate((train, test)))
        assert data_facts(Dataset("d", *splits, ())).common_examples == common


def test_common_examples_are_those_of_equal_bytes() -> None:
    view = np.arange(24, dtype=np.uint8).reshape(4, 6).T
    facts = data_facts(Dataset("d", Split(view, np.zeros(6)), Split(view[[5, 2]].copy(), np.zeros(2)), ()))
    assert facts.common_examples == 2
    zeros = np.array([[0.0], [1.0]])
    facts = data_facts(Dataset("d", Split(zeros, np.zeros(2)), Split(-zeros, np.zeros(2)), ()))
    assert facts.common_examples == 0


def test_facts_say_what_the_data_are_and_where_they_are_from(tmp_path: Path) -> None:
    split = Split(np.zeros((2, 2), np.uint8), np.zeros(2, int))
    facts = data_facts(Dataset("d", split, split, (), description="zeros", origin="made up"))
    assert (facts.description, facts.origin) == ("zeros", "made up")
