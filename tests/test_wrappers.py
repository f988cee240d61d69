import itertools
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from funcnet.data.batches import batches
from funcnet.data.dataset import DataError, Dataset, Split, hold_out
from funcnet.training import EpochNumbers, EpochRecord
from funcnet.wrappers import Averaged, EarlyStopping

KEY = fn.make_key(0)
NET = fn.chain(fn.linear(8), fn.batch_norm(), fn.relu(), fn.dropout(0.2), fn.linear(3))
OPTIMIZER = fn.optimizers.average(fn.momentum(0.1), 0.5)


def noise(examples: int, seed: int) -> Split:
    """Labels that have nothing to do with the examples: training on them soon over-fits."""
    draw = np.random.default_rng(seed)
    return Split(draw.standard_normal((examples, 6)).astype(np.float32), draw.integers(0, 3, examples))


DATA = hold_out(Dataset("noise", noise(80, 0), noise(30, 1), ("a", "b", "c")), 30, KEY)
WITHOUT = Dataset("noise", DATA.train, DATA.test, DATA.classes)


def beginning(optimizer: Any = OPTIMIZER) -> fn.TrainState:
    return fn.init_state(NET.init(KEY, (6,))[0], optimizer, KEY)


def training(state: fn.TrainState | None = None, data: Dataset = DATA, epochs: int = 8, **options: Any) -> fn.Training:
    settings = {"loss": fn.softmax_cross_entropy(), "optimizer": OPTIMIZER, "batch_size": 25}
    return fn.train(NET, beginning() if state is None else state, data, epochs=epochs, **{**settings, **options})


def same(one: EpochRecord, other: EpochRecord) -> bool:
    """Whether the records are equal but for their times, the parameters bit for bit."""
    timeless = (attrs.evolve(r, seconds=0.0, examples_per_second=0.0, total_seconds=0.0).facts for r in (one, other))
    first, second = timeless
    trees = [(r.params, r.state.params, r.state.opt_state) for r in (one, other)]
    return first == second and tree.equal(*trees)


@pytest.fixture(scope="module")
def whole() -> list[EpochRecord]:
    """The records of the training without anything around it."""
    return list(training())


def best_of(losses: list[float]) -> int:
    return 1 + losses.index(min(losses))


def scripted(record: EpochRecord, losses: list[float], accuracies: list[float] | None = None) -> Iterator[EpochRecord]:
    """Records with these losses and accuracies in validation."""
    for epoch, (loss, accuracy) in enumerate(zip(losses, accuracies or [0.5] * len(losses), strict=True), 1):
        yield attrs.evolve(record, epoch=epoch, validation=fn.Evaluation(loss, (), accuracy, 30))


# --- the validation part


def test_the_validation_part_is_evaluated_and_nothing_is_trained_on_it(whole: list[EpochRecord]) -> None:
    first = whole[0]
    by_hand = fn.evaluate(NET, first.params, batches(DATA.validation, 30, normalize=None), fn.softmax_cross_entropy())
    assert first.validation == by_hand
    without = list(training(data=WITHOUT, epochs=2))
    assert [r.validation for r in without] == [None, None]
    for a, b in zip(whole, without, strict=False):
        assert same(attrs.evolve(a, validation=None), b)
    assert "; validation loss " in str(first)
    assert "validation" not in str(without[0])


def test_the_validation_part_is_checked_before_the_first_step() -> None:
    wrong = DATA.validation.x.copy()
    wrong[7] = np.nan
    for held, message in (
        (Split(wrong, DATA.validation.y), "the validation part of noise: expected finite examples, .* at index 7"),
        (Split(DATA.validation.x, DATA.validation.y + 1), "the validation part of noise"),
    ):
        with pytest.raises(fn.ShapeError, match=message):
            training(data=attrs.evolve(DATA, validation=held))
    with pytest.raises(ValueError, match="noise has 50 training and 0 validation and 30 testing examples"):
        training(data=attrs.evolve(DATA, validation=DATA.validation.take(np.array([], int))))


def test_a_run_knows_its_validation_part(whole: list[EpochRecord]) -> None:
    run = fn.new_run(NET, DATA, seed=0).and_epoch(whole[0])
    assert run.validation == (whole[0].validation,)
    assert (run.data.validation_examples, sum(run.data.validation_counts)) == (30, 30)
    assert len({run.data.train_sha256, run.data.validation_sha256, run.data.test_sha256}) == 3
    with pytest.raises(ValueError, match="a validation part in every epoch or in none, found another in epoch 2"):
        run.and_epoch(attrs.evolve(whole[1], validation=None))


# --- early stopping


def test_training_ends_without_improvement_and_the_best_record_is_kept(whole: list[EpochRecord]) -> None:
    best = best_of([r.validation.data_loss for r in whole])
    assert best + 3 < len(whole)
    stopping = fn.early_stopping(training(), patience=3)
    run = fn.new_run(NET, DATA, seed=0, epochs=8)
    for record in stopping:
        run = run.and_epoch(record)
    assert (run.epochs, stopping.best.epoch, run.best.epoch) == (best + 3, best, best)
    assert tree.equal(stopping.best.params, whole[best - 1].params)
    assert (run.chosen_by, run.ended) == ("validation loss", stopping.ended)
    assert stopping.ended == f"The validation loss was best in epoch {best}, and not better in the 3 epochs after it"
    assert dict(run.settings)["early stopping"] == "patience 3, by validation loss"
    assert list(stopping) == []


@pytest.mark.parametrize(
    ("losses", "patience", "best", "made"),
    [
        ([3, 2, 2, 2, 1], 2, 2, 4),  # the same again is no improvement
        ([3, 2, 2.5, 1, 2, 2, 0], 2, 4, 6),
        ([1, math.nan, 0.5, math.inf, 2], 2, 3, 5),
        ([math.nan, math.nan, math.nan, 1], 2, 1, 3),
        ([math.nan, 1, 2, 2], 2, 2, 4),
        ([3, 2, 1], 1, 3, 3),
        ([1, 2], 1, 1, 2),
    ],
)
def test_patience(losses: list[float], patience: int, best: int, made: int, whole: list[EpochRecord]) -> None:
    stopping = fn.early_stopping(scripted(whole[0], losses), patience)
    seen = list(stopping)
    assert (len(seen), stopping.best.epoch, bool(stopping.ended)) == (made, best, made - best >= patience)
    assert [bool(record.ended) for record in seen[:-1]] == [False] * (made - 1)
    assert seen[-1].ended == stopping.ended


def test_what_is_chosen_by(whole: list[EpochRecord]) -> None:
    losses, accuracies = [3, 1, 2, 2], [0.1, 0.2, 0.6, 0.3]
    for by, best in (("loss", 2), ("accuracy", 3)):
        stopping = fn.early_stopping(scripted(whole[0], losses, accuracies), by=by)
        assert {record.chosen_by for record in stopping} == {f"validation {by}"}
        assert stopping.best.epoch == best
    penalised = fn.Evaluation(1.0, (fn.step.PenaltyValue("w", "l2", 5.0),), 0.5, 30)
    records = [attrs.evolve(whole[0], epoch=2, validation=penalised)]
    stopping = fn.early_stopping(itertools.chain(scripted(whole[0], [2.0]), records))
    list(stopping)
    assert stopping.best.epoch == 2  # its total is larger, its data loss is not
    stopping = fn.early_stopping(training(data=WITHOUT, epochs=2), part="training")
    assert {record.chosen_by for record in stopping} == {"training loss"}


def test_what_cannot_choose_is_refused(whole: list[EpochRecord]) -> None:
    squared = partial(training, loss=fn.mean_squared_error(), data=attrs.evolve(
        DATA, **{n: Split(s.x, np.zeros((len(s), 3), np.float32))
                 for n, s in (("train", DATA.train), ("validation", DATA.validation), ("test", DATA.test))}
    ))  # fmt: skip
    for message, make in (
        (r"there is no validation part to choose by: hold_out", lambda: fn.early_stopping(training(data=WITHOUT))),
        ("nothing is chosen by the testing part", lambda: fn.early_stopping(training(), part="testing")),
        ("expected part and by to be one of .*, got validation f1", lambda: fn.early_stopping(training(), by="f1")),
        ("the patience .* 1", lambda: fn.early_stopping(training(), 0)),
        ("there is no validation accuracy, since", lambda: fn.early_stopping(squared(), by="accuracy")),
        ("no validation part", lambda: list(fn.early_stopping([attrs.evolve(whole[0], validation=None)]))),
        ("no validation part", lambda: fn.early_stopping(fn.logged(training(data=WITHOUT), print))),
        ("no epoch was finished", lambda: fn.early_stopping(training()).best),
        ("no epoch was finished", lambda: fn.averaged(training()).params),
        ("the number of epochs to average", lambda: fn.averaged(training(), 0)),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.usefixtures("as_users_run")
def test_records_without_the_steps_between_them_have_no_checkpoints(whole: list[EpochRecord]) -> None:
    with pytest.raises(TypeError, match="checkpointed takes what train returned, or what goes around that"):
        fn.checkpointed(iter(whole), "nowhere")


# --- with checkpoints


def wrapped(state: fn.TrainState, folder: Path, epochs: int = 8, **options: Any) -> tuple[EarlyStopping, Averaged]:
    stopping = fn.early_stopping(training(state, epochs=epochs, **options), patience=3, folder=folder)
    return stopping, fn.averaged(stopping, 2, folder=folder)


def checkpointed(state: fn.TrainState, folder: Path, run: fn.RunRecord, **options: Any) -> tuple[Any, ...]:
    stopping, averaged = wrapped(state, folder, **options)
    return stopping, averaged, fn.checkpointed(averaged, folder, run=run, steps=3)


def stop_in(epoch: int, step: int) -> Any:
    """A callback that raises Ctrl-C."""
    met = []

    def callback(number: int, metrics: fn.Evaluation) -> None:
        met.append(number)
        if met.count(1) == epoch and number == step:
            raise KeyboardInterrupt

    return callback


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("after", [(2, 1), (5, 1)])
def test_a_run_that_goes_on_ends_like_one_that_was_not_stopped(after: tuple[int, int], tmp_path: Path) -> None:
    """Also where the best epoch, or those averaged, were before the interruption. Stopped by Ctrl-C within an epoch."""
    begun = fn.new_run(NET, DATA, seed=0, epochs=8)
    stopping, averaged, records = checkpointed(beginning(), tmp_path / "whole", begun)
    seen = list(records)
    one, other, records = checkpointed(beginning(), tmp_path / "parts", begun, callback=stop_in(*after))
    with pytest.raises(KeyboardInterrupt):
        list(records)
    start = fn.resume(tmp_path / "parts", beginning(), begun)
    assert (start.state.progress.epoch, start.state.progress.batches) == (after[0] - 1, after[1])
    one, other, records = checkpointed(start.state, tmp_path / "parts", start.run)
    rest = list(records)
    assert len(rest) < len(seen)
    assert [same(*pair) for pair in zip(seen[-len(rest) :], rest, strict=True)] == [True] * len(rest)
    assert same(one.best, stopping.best)
    assert (one.ended, other.epochs) == (stopping.ended, averaged.epochs)
    assert tree.equal(other.params, averaged.params)
    # Once it has ended, it is not gone on with.
    start = fn.resume(tmp_path / "parts", beginning(), begun)
    assert (start.run.chosen_by, start.run.ended) == ("validation loss", stopping.ended)
    again, _, records = checkpointed(start.state, tmp_path / "parts", start.run)
    assert (list(records), again.ended) == ([], stopping.ended)
    assert same(again.best, stopping.best)


@pytest.mark.usefixtures("as_users_run")
def test_early_stopping_around_checkpointed(tmp_path: Path) -> None:
    """The checkpoints' folder is free, and holds the last state, once the training has ended."""
    inner = fn.early_stopping(training(), 3)
    wanted = list(inner)[-1]
    stopping = fn.early_stopping(fn.checkpointed(training(), tmp_path, minutes=60), 3, folder=tmp_path)
    seen = list(fn.logged(stopping, lambda record: None))
    assert same(seen[-1], wanted)
    assert same(stopping.best, inner.best)
    with fn.files.lock_folder(tmp_path):
        assert fn.load_checkpoint(tmp_path, beginning()).state.step == wanted.state.step
    start = fn.resume(tmp_path, beginning())
    again = fn.early_stopping(fn.checkpointed(training(start.state), tmp_path), 3, folder=tmp_path)
    assert len(list(again)) == 1  # only its record can tell where this training is
    assert same(again.best, inner.best)


@pytest.mark.usefixtures("as_users_run")
def test_a_training_from_its_beginning_does_not_take_up_what_is_in_the_folder(tmp_path: Path) -> None:
    stopping, averaged = wrapped(beginning(), tmp_path)
    list(averaged)
    stopping, averaged = wrapped(beginning(), tmp_path, epochs=1)
    list(averaged)
    assert (stopping.best.epoch, averaged.epochs) == (1, (1,))
    other = attrs.evolve(next(training()).state, key=fn.make_key(9))
    for wrap, message in ((fn.early_stopping, "is one of another run"), (fn.averaged, "are of another run")):
        with pytest.raises(DataError, match=message):
            wrap(training(other), folder=tmp_path)


@pytest.mark.usefixtures("as_users_run")
def test_epochs_that_are_made_again_count_once(tmp_path: Path) -> None:
    """A run that was killed goes on from a checkpoint that is older than what the folder knows."""
    stopping, averaged = wrapped(beginning(), tmp_path)
    seen = list(averaged)
    for earlier in (0, 3, 4):
        again, mean = wrapped(seen[earlier].state, tmp_path)
        assert len(list(mean)) == len(seen) - earlier - 1
        assert same(again.best, stopping.best)
        assert (mean.epochs, again.ended) == (averaged.epochs, stopping.ended)
        assert tree.equal(mean.params, averaged.params)


# --- averages


@pytest.mark.usefixtures("as_users_run")
def test_the_mean_of_the_last_parameters(whole: list[EpochRecord]) -> None:
    averaged = fn.averaged(training(), 3)
    seen = list(averaged)
    assert [same(*pair) for pair in zip(seen, whole, strict=True)] == [True] * 8
    assert averaged.epochs == (6, 7, 8)
    means = tree.map(lambda *arrays: np.mean(arrays, axis=0, dtype=np.float64), *(r.params for r in whole[-3:]))
    for path, array in tree.named_leaves(averaged.params):
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, dict(tree.named_leaves(means))[path], rtol=1e-6)
    few = fn.averaged(whole[:2], 3)
    list(few)
    assert few.epochs == (1, 2)


def test_statistics_are_those_of_the_network_that_they_are_renewed_for(whole: list[EpochRecord]) -> None:
    """By hand, for the first normalization: its statistics are those of its inputs."""
    params = whole[-1].params
    some = [next(batches(DATA.train, 50, normalize=None))] * 200
    renewed = fn.renew_statistics(NET, params, some, KEY)
    assert tree.equal(tree.trained(renewed), tree.trained(params))
    inputs = DATA.train.x @ params[0].weight + params[0].bias
    np.testing.assert_allclose(renewed[1].mean, inputs.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(renewed[1].variance, inputs.var(axis=0), rtol=1e-4)
    assert not np.allclose(params[1].mean, inputs.mean(axis=0), atol=1e-3)


# --- logs


def test_a_log_has_a_line_an_epoch_also_where_a_training_goes_on(tmp_path: Path, whole: list[EpochRecord]) -> None:
    path = tmp_path / "log.jsonl"
    list(fn.logged(whole[:3], fn.json_lines(path)))
    with path.open("a") as file:
        file.write('{"epoch": 4, "tra')  # a process that was killed
    seen = list(fn.logged(whole[2:5], fn.json_lines(path)))
    assert seen == whole[2:5]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert list(lines[0]) == [field.name for field in attrs.fields(EpochNumbers)]
    assert lines[4]["validation"]["data_loss"] == whole[4].validation.data_loss
    path.write_text("something else\n")
    with pytest.raises(DataError, match="expected the JSON of an epoch, found 'something else'"):
        list(fn.logged(whole[:1], fn.json_lines(path)))
    assert path.read_text() == "something else\n"


@pytest.mark.usefixtures("as_users_run")
def test_all_of_them_around_each_other_in_any_order(whole: list[EpochRecord]) -> None:
    names: list[int] = []
    wrap = {
        "stopping": lambda records: fn.early_stopping(records, 3),
        "averaged": lambda records: fn.averaged(records, 2),
        "logged": lambda records: fn.logged(records, lambda record: names.append(record.epoch)),
    }
    end = best_of([r.validation.data_loss for r in whole]) + 3
    for order in (list(wrap), list(wrap)[::-1], ["averaged", "stopping", "logged"]):
        names.clear()
        records: Any = training()
        for name in order:
            records = wrap[name](records)
        moments = list(records.steps())
        made = [moment for moment in moments if isinstance(moment, EpochRecord)]
        assert len(moments) == end * (2 + 1)
        assert [record.epoch for record in made] == names == list(range(1, end + 1))
        assert (records.is_whole, records.state.step, made[-1].chosen_by) == (True, 2 * end, "validation loss")
