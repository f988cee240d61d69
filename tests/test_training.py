import itertools
import math

import attrs
import numpy as np
import pytest

from funcnet import tree
from funcnet.combinators import chain
from funcnet.data import augment
from funcnet.data.batches import batches, normalization
from funcnet.data.dataset import Dataset, Split
from funcnet.data.glyphs import glyphs_dataset
from funcnet.engines.running import copy_state, evaluate, make_step
from funcnet.layer import AnyLayer
from funcnet.layers.activations import relu
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.losses import Loss, mean_squared_error, softmax_cross_entropy
from funcnet.nonfinite import DivergenceError, NonFiniteError
from funcnet.optimizers import momentum, one_cycle, sgd
from funcnet.penalties import l2
from funcnet.random import Key, fold_in, make_key, normal, permutation
from funcnet.shapes import ShapeError
from funcnet.step import Batch, TrainState, init_state, make_grad
from funcnet.training import EpochRecord, train

NET = chain(flatten(), linear(32), relu(), linear(10))
LOSS = softmax_cross_entropy()
OPTIMIZER = momentum(0.01)
PENALTIES = {"[1].weight": l2(1e-3), "[3].weight": l2(1e-2)}
DATA = glyphs_dataset(make_key(0), 205, 103)
LEAST = {"loss": LOSS, "optimizer": OPTIMIZER, "epochs": 1, "batch_size": 20}


def begin(net: AnyLayer = NET, in_shape: tuple[int, ...] = (28, 28)) -> TrainState:
    return init_state(net.init(make_key(1), in_shape)[0], OPTIMIZER, make_key(2))


def run(state: TrainState, epochs: int, **changes: object) -> list[EpochRecord]:
    settings = {"loss": LOSS, "optimizer": OPTIMIZER, "penalties": PENALTIES, "batch_size": 20}
    return list(train(NET, state, DATA, epochs=epochs, **{**settings, **changes}))


def numbers(record: EpochRecord) -> EpochRecord:
    """The record without what no two runs share."""
    return attrs.evolve(record, seconds=0.0, examples_per_second=0.0, total_seconds=0.0)


def test_a_record_states_the_whole_sets_at_the_epochs_end() -> None:
    """By hand, in one batch each, for training and testing."""
    (record,) = run(begin(), 1)
    normalize = normalization(DATA.train.x)
    for split, stated in ((DATA.train, record.train), (DATA.test, record.test)):
        by_hand = evaluate(NET, record.state.params, [Batch(normalize(split.x), split.y)], LOSS, PENALTIES)
        assert stated.data_loss == pytest.approx(by_hand.data_loss, rel=1e-5)
        assert stated.penalties == by_hand.penalties
        assert stated.accuracy == pytest.approx(by_hand.accuracy)
        assert stated.examples == len(split)
    assert record.parameter_norms == tuple((p, tree.norm(a)) for p, a in tree.named_leaves(record.state.params))
    assert [path for path, _ in record.gradient_norms] == ["[1].weight", "[1].bias", "[3].weight", "[3].bias"]
    assert all(norm > 0 for _, norm in record.gradient_norms)
    assert record.learning_rate == 0.01
    assert (record.epoch, record.state.step) == (1, 11)
    assert record.examples_per_second == pytest.approx(205 / record.seconds)


def test_gradient_norms_are_of_examples_spread_over_the_set_with_and_without_penalties() -> None:
    (record,) = run(begin(), 1)
    batch = Batch(normalization(DATA.train.x)(DATA.train.x), DATA.train.y)  # all of them: fewer than a batch
    for stated, penalties in ((record.gradient_norms, PENALTIES), (record.data_gradient_norms, {})):
        _, gradient = make_grad(NET, LOSS, penalties)(record.state.params, batch)
        assert [path for path, _ in stated] == [path for path, _ in tree.named_leaves(gradient)]
        np.testing.assert_allclose(
            [norm for _, norm in stated], [tree.norm(a) for a in tree.leaves(gradient)], rtol=1e-5
        )
    assert record.gradient_norms[2] != record.data_gradient_norms[2]


def test_between_tenth_steps_penalties_are_those_last_summed_up() -> None:
    seen = []
    run(begin(), 1, batch_size=10, callback=lambda place, metrics: seen.append(metrics.penalties))
    assert len(seen) == 21
    for begun in (0, 10):
        assert all(penalties == seen[begun] for penalties in seen[begun : begun + 10])
    assert len({seen[0], seen[10], seen[20]}) == 3


def test_a_record_says_what_it_was_trained_with() -> None:
    (record,) = run(begin(), 1)
    assert record.settings == (
        ("optimizer", "momentum(0.9), batches of 20"),
        ("penalties", "l2(0.001) on [1].weight, l2(0.01) on [3].weight"),
        ("engine", "numpy"),
    )


@pytest.mark.usefixtures("as_users_run")
def test_what_is_no_state_optimizer_or_data_set_is_refused() -> None:
    for message, make in (
        ("an optimizer is made by a call", lambda: train(NET, begin(), DATA, **{**LEAST, "optimizer": sgd})),
        ("train takes a TrainState", lambda: train(NET, begin().params, DATA, **LEAST)),
        ("train takes a Dataset", lambda: train(NET, begin(), DATA.train, **LEAST)),
        ("an optimizer is made by a call", lambda: init_state(begin().params, sgd, make_key(0))),
        ("an optimizer is made by a call", lambda: make_step(NET, LOSS, sgd)),
    ):
        with pytest.raises(TypeError, match=message):
            make()


def test_counts_are_no_classes() -> None:
    """A loss of whole numbers that are none: Poisson's, whose mean is the exponential of what the network says."""

    def poisson(z: np.ndarray, counts: np.ndarray) -> tuple[float, np.ndarray]:
        mean, t = np.exp(z), counts[:, None]
        return float((mean - t * z).mean()), ((mean - t) / len(z)).astype(z.dtype)

    draw = np.random.default_rng(0)
    parts = [Split(draw.standard_normal((40, 3)).astype(np.float32), draw.integers(0, 6, 40)) for _ in range(2)]
    (record,) = train(
        linear(1), begin(linear(1), (3,)), Dataset("counts", *parts, ()), loss=Loss("poisson", poisson),
        optimizer=OPTIMIZER, epochs=1, batch_size=20,
    )  # fmt: skip
    assert record.examination.answers is None
    assert math.isnan(record.test.accuracy)
    assert "accuracy" not in str(record)


def test_update_ratios_are_medians_of_steps_over_the_epoch() -> None:
    """By hand, from all states: of 11 steps, nine are looked at, the first and the last among them."""
    state, ratios = begin(), []
    step = make_step(NET, LOSS, OPTIMIZER, PENALTIES)
    key = fold_in(state.key, 0)
    for batch in batches(DATA.train, 20, normalize=normalization(DATA.train.x), key=key):
        before, (state, _) = state.params, step(state, batch)
        pairs = zip(tree.leaves(before), tree.leaves(state.params), strict=True)
        ratios.append([np.linalg.norm(b - a) / np.linalg.norm(a) if a.any() else math.nan for a, b in pairs])
    (record,) = run(begin(), 1)
    assert [path for path, _ in record.update_ratios] == ["[1].weight", "[1].bias", "[3].weight", "[3].bias"]
    looked_at = np.array([ratios[k] for k in (0, 1, 3, 4, 5, 6, 7, 9, 10)])
    np.testing.assert_allclose([r for _, r in record.update_ratios], np.nanmedian(looked_at, axis=0), rtol=1e-4)


def test_an_array_that_stays_zero_has_no_update_ratio() -> None:
    """Nothing can be said of a step from zero; a bias that never moves is always there."""
    x = np.ones((4, 3), np.float32)
    split = Split(x, np.zeros((4, 1), np.float32))
    net = linear(1)
    params = tree.map(np.zeros_like, net.init(make_key(0), (3,))[0])
    (record,) = train(
        net, init_state(params, OPTIMIZER, make_key(0)), Dataset("zeros", split, split, ()),
        loss=mean_squared_error(), optimizer=OPTIMIZER, epochs=1, batch_size=2,
    )  # fmt: skip
    assert record.update_ratios == ()


def test_the_running_mean_weighs_every_example_the_same() -> None:
    met = []
    (record,) = run(begin(), 1, callback=lambda step, metrics: met.append((step, metrics)))
    assert [step for step, _ in met] == list(range(1, 12))
    assert [m.examples for _, m in met] == [20] * 10 + [5]
    mean = sum(m.data_loss * m.examples for _, m in met) / 205
    assert record.running.data_loss == pytest.approx(mean)
    assert record.running.accuracy == pytest.approx(sum(m.accuracy * m.examples for _, m in met) / 205)
    assert record.running.penalties[1].value == pytest.approx(
        sum(m.penalties[1].value * m.examples for _, m in met) / 205
    )
    assert record.running.data_loss > record.train.data_loss


def test_penalties_are_summed_up_in_every_tenth_step_and_stand_for_those_after_it() -> None:
    sums, states, state = [], [], begin()
    step = make_step(NET, LOSS, OPTIMIZER, PENALTIES)
    for batch in batches(DATA.train, 20, normalize=normalization(DATA.train.x), key=fold_in(state.key, 0)):
        state, met = step(state, batch)
        states.append(met)
    run(begin(), 1, callback=lambda step, metrics: sums.append(metrics))
    assert len(sums) == len(states) == 11
    for place, (watched, exact) in enumerate(zip(sums, states, strict=True)):
        for a, b in zip(watched.penalties, states[place - place % 10].penalties, strict=True):
            assert (a.path, a.name) == (b.path, b.name)
            assert a.value == pytest.approx(b.value, rel=1e-4)
        assert watched.data_loss == pytest.approx(exact.data_loss, rel=1e-3)
    assert sums[0].penalties != sums[10].penalties


def test_training_learns() -> None:
    records = run(begin(), 6)
    assert [r.epoch for r in records] == [1, 2, 3, 4, 5, 6]
    assert records[-1].train.loss < records[0].train.loss / 2
    assert records[-1].train.accuracy > 0.8
    assert "epoch   6: loss " in str(records[-1])


def test_the_same_start_gives_the_same_bits() -> None:
    assert [numbers(r) for r in run(begin(), 2)] == [numbers(r) for r in run(begin(), 2)]
    other = attrs.evolve(begin(), key=make_key(3))
    assert run(other, 1)[0].state.params != run(begin(), 1)[0].state.params


def test_training_goes_on_from_any_record_as_if_it_had_not_stopped() -> None:
    whole = run(begin(), 4)
    first = run(begin(), 2)
    rest = run(first[-1].state, 4)
    assert [r.epoch for r in rest] == [3, 4]
    assert [numbers(r) for r in first + rest] == [numbers(r) for r in whole]
    assert run(whole[-1].state, 4) == []


AUGMENT = augment.compose(augment.alternating_flip(), augment.shift(2), augment.cutout(5))


def test_augmented_training_goes_on_from_any_record_and_from_within_an_epoch() -> None:
    whole = run(begin(), 3, augment=AUGMENT)
    first = run(begin(), 1, augment=AUGMENT)
    rest = run(first[-1].state, 3, augment=AUGMENT)
    assert [numbers(r) for r in first + rest] == [numbers(r) for r in whole]
    training = train(NET, begin(), DATA, **{**LEAST, "epochs": 3, "penalties": PENALTIES, "augment": AUGMENT})
    for _ in itertools.islice(training.steps(), 11 + 1 + 4):
        pass
    assert training.state.progress.batches == 4
    assert [numbers(r) for r in run(training.state, 3, augment=AUGMENT)] == [numbers(r) for r in whole[1:]]


def test_augmentation_changes_the_batches_and_nothing_else() -> None:
    """By hand: the order is that without it, and the evaluations are of the examples as they are."""
    (record,) = run(begin(), 1, augment=AUGMENT)
    assert dict(record.settings)["augmentation"] == "alternating_flip(), shift(2), cutout(5)"
    normalize, state = normalization(DATA.train.x), begin()
    step, order = make_step(NET, LOSS, OPTIMIZER, PENALTIES), permutation(fold_in(state.key, 0), len(DATA.train))
    losses = []
    for number, batch in enumerate(batches(DATA.train, 20, normalize=normalize, key=fold_in(state.key, 0))):
        key = fold_in(fold_in(fold_in(state.key, 0), 2**32 - 1), number)
        rows = order[20 * number : 20 * (number + 1)]
        changed = AUGMENT(key, augment.Examples(batch.x, batch.y, rows, epoch=0))
        state, met = step(state, Batch(changed.x, changed.y))
        losses.append(met.data_loss * len(batch))
    assert record.running.data_loss == pytest.approx(sum(losses) / 205, rel=1e-3)
    for path, array in tree.named_leaves(record.state.params):
        np.testing.assert_allclose(array, dict(tree.named_leaves(state.params))[path], atol=1e-4)
    plain = evaluate(NET, record.state.params, [Batch(normalize(DATA.train.x), DATA.train.y)], LOSS, PENALTIES)
    assert record.train.data_loss == pytest.approx(plain.data_loss, rel=1e-5)


def test_a_record_shows_augmented_images() -> None:
    (record,) = run(begin(), 1, augment=augment.alternating_flip())
    originals, *epochs = ([picture.array for picture in row] for row in record.augmented)
    assert [len(row) for row in record.augmented] == [8] * 4
    assert np.array_equal(originals[0], DATA.train.x[0])
    assert np.array_equal(originals[-1], DATA.train.x[-1])
    flipped = [[bool((a != b).any()) for a, b in zip(row, originals, strict=True)] for row in epochs]
    assert flipped[0] == flipped[2] == [not f for f in flipped[1]]
    for row, turned in zip(epochs, flipped, strict=True):
        for image, original, turn in zip(row, originals, turned, strict=True):
            assert np.array_equal(image, original[:, ::-1] if turn else original)
    (plain,) = run(begin(), 1)
    assert plain.augmented == ()


@pytest.mark.parametrize("weighted", [False, True])
def test_mixed_labels_are_trained_on(weighted: bool) -> None:
    """Labels become distributions in the batches, and stay labels elsewhere. Weights stay with their rows."""
    weight = np.linspace(0.5, 1.5, 205, dtype=np.float32) if weighted else None
    data = attrs.evolve(DATA, train=Split(DATA.train.x, DATA.train.y, weight))
    mixing = augment.compose(augment.mixup(0.4, classes=10), augment.cutmix(classes=10))
    settings = {"loss": LOSS, "optimizer": OPTIMIZER, "batch_size": 20, "augment": mixing}
    *_, last = train(NET, begin(), data, epochs=6, **settings)
    assert last.train.accuracy > 0.6
    assert last.running.data_loss > last.train.data_loss
    assert last.running.accuracy < last.train.accuracy
    assert len(last.augmented) == 4
    half = train(NET, begin(), data, epochs=6, **settings)
    for _ in itertools.islice(half.steps(), 16):
        pass
    *_, again = train(NET, half.state, data, epochs=6, **settings)
    assert numbers(again) == numbers(last)


@pytest.mark.usefixtures("as_users_run")
def test_an_augmentation_that_the_loss_cannot_take_is_refused_before_training() -> None:
    with pytest.raises(TypeError, match=r"an augmentation is made by a call, such as data\.augment\.flip"):
        train(NET, begin(), DATA, **LEAST, augment=augment.flip)
    numbers_for_labels = augment.Augmentation("halves", lambda key, e: attrs.evolve(e, y=e.y / 2))
    with pytest.raises(ShapeError, match="the training examples after halves: softmax cross-entropy: expected"):
        train(NET, begin(), DATA, **LEAST, augment=numbers_for_labels)


def test_a_step_that_goes_wrong_is_found_again_with_its_augmentation() -> None:
    spoiled = augment.Augmentation("spoiled", spoil)
    with pytest.raises(NonFiniteError, match="the first to become nan was the examples") as caught:
        run(begin(), 1, augment=spoiled)
    assert caught.value.step == 6


def spoil(key: Key, examples: augment.Examples) -> augment.Examples:
    """Row 100 becomes NaN."""
    row = (examples.rows == permutation(fold_in(make_key(2), 0), 205)[100])[:, None, None]
    return attrs.evolve(examples, x=np.where(row, np.float32(np.nan), examples.x))


def test_nothing_that_anybody_sees_is_written_to() -> None:
    """Training gives its own states up to the next step: neither the one it began with nor those of its records."""
    beginning = begin()
    kept = copy_state(beginning)
    records, states = [], []
    for record in train(
        NET, beginning, DATA, loss=LOSS, optimizer=OPTIMIZER, penalties=PENALTIES, epochs=3, batch_size=20
    ):
        records.append(record)
        states.append(copy_state(record.state))
    assert tree.equal(beginning.params, kept.params)
    assert tree.equal(beginning.opt_state, kept.opt_state)
    for record, state in zip(records, states, strict=True):
        assert tree.equal((record.state.params, record.state.opt_state), (state.params, state.opt_state))


def test_an_interruption_leaves_the_last_record_whole() -> None:
    """Ctrl-C arrives in the middle of the second epoch."""
    steps = itertools.count()

    def watch(step: int, metrics: object) -> None:
        if next(steps) == 15:
            raise KeyboardInterrupt

    records = train(
        NET, begin(), DATA, loss=LOSS, optimizer=OPTIMIZER, penalties=PENALTIES, epochs=3, batch_size=20, callback=watch
    )
    done = [next(records)]
    with pytest.raises(KeyboardInterrupt):
        next(records)
    assert [numbers(r) for r in done] == [numbers(r) for r in run(begin(), 1)]


def test_every_epoch_has_an_order_of_its_own() -> None:
    """Each example once an epoch, and not in the same batches twice."""
    rows = np.arange(60, dtype=np.float32).reshape(60, 1)
    seen: list[list[float]] = []
    net = linear(1)

    def forward(params: object, x: np.ndarray) -> object:
        if len(x) == 7 or len(x) == 60 % 7:
            seen.append(x[:, 0].tolist())
        return net.forward(params, x)

    data = Dataset("rows", Split(rows, rows), Split(rows, rows), ())
    list(
        train(
            attrs.evolve(net, forward=forward), begin(net, (1,)), data,
            loss=mean_squared_error(), optimizer=momentum(1e-9), epochs=2, batch_size=7,
        )
    )  # fmt: skip
    one, two = list(itertools.chain(*seen[:9])), list(itertools.chain(*seen[9:]))
    assert sorted(one) == sorted(two) == rows[:, 0].tolist()
    assert one != two
    assert one != sorted(one)


def test_numbers_are_predicted_as_well_as_classes() -> None:
    """Regression on floating-point examples, which are taken as they are."""
    x = normal(make_key(0), (200, 3))
    data = Dataset("plane", Split(x, x @ np.array([[1], [2], [3]], np.float32)), Split(x, x[:, :1]), ())
    net = linear(1)
    *_, last = train(
        net, begin(net, (3,)), data, loss=mean_squared_error(), optimizer=momentum(0.02), epochs=20, batch_size=10
    )
    np.testing.assert_allclose(last.state.params.weight, [[1], [2], [3]], atol=1e-3)
    assert math.isnan(last.train.accuracy)


def test_divergence_is_said_and_stops() -> None:
    huge = momentum(1e25)
    state = init_state(NET.init(make_key(1), (28, 28))[0], huge, make_key(2))
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            DivergenceError,
            match=r"the loss became (inf|nan) at step \d+ of epoch 1 .*l2 of \[1\].weight.* rate of 1e\+25",
        ),
    ):
        run(state, 3, optimizer=huge)


def test_divergence_at_the_last_step_is_no_finished_epoch() -> None:
    sudden = momentum(lambda step: 1e-3 if step < 10 else 1e30)
    state = init_state(NET.init(make_key(1), (28, 28))[0], sudden, make_key(2))
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match="at step 11 of epoch 1"):
        run(state, 1, optimizer=sudden)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2.5}, "number of epochs is a whole number from 1 up, got 2.5"),
        ({"epochs": True}, "number of epochs is a whole number from 1 up, got True"),
        ({"batch_size": math.nan}, "batch size is a whole number from 1 up, got nan"),
        ({"epochs": 0}, "the number of epochs is a whole number from 1 up, got 0"),
        ({"batch_size": 0}, "the batch size is a whole number from 1 up, got 0"),
    ],
)
def test_wrong_settings_are_refused_at_the_call(changes: dict[str, object], message: str) -> None:
    settings = {"state": begin(), "epochs": 1, "batch_size": 20, **changes}
    with pytest.raises(ValueError, match=message):
        train(NET, settings.pop("state"), DATA, loss=LOSS, optimizer=OPTIMIZER, **settings)


def test_no_examples_are_refused() -> None:
    empty = Split(DATA.train.x[:0], DATA.train.y[:0])
    with pytest.raises(ValueError, match="nothing has 0 training and 103 testing examples"):
        train(
            NET, begin(), Dataset("nothing", empty, DATA.test, ()),
            loss=LOSS, optimizer=OPTIMIZER, epochs=1, batch_size=1,
        )  # fmt: skip


def test_images_stay_bytes_until_their_batch() -> None:
    batch = next(batches(DATA.train, 20, normalize=normalization(DATA.train.x)))
    assert (DATA.train.x.dtype, batch.x.dtype) == (np.uint8, np.float32)


def test_an_empty_testing_set_is_refused() -> None:
    empty = attrs.evolve(DATA, test=Split(DATA.test.x[:0], DATA.test.y[:0]))
    with pytest.raises(ValueError, match="205 training and 0 testing examples"):
        train(NET, begin(), empty, loss=LOSS, optimizer=OPTIMIZER, epochs=1, batch_size=20)


def test_the_rate_of_an_epoch_is_that_of_its_last_step() -> None:
    optimizer = sgd(lambda step: 0.001 * (step + 1))
    state = init_state(begin().params, optimizer, make_key(2))
    (record,) = run(state, 1, optimizer=optimizer)
    assert record.learning_rate == pytest.approx(0.011)  # of 11 steps


@pytest.mark.usefixtures("as_users_run")
def test_what_training_cannot_start_with_is_said_at_the_call() -> None:
    with pytest.raises(TypeError, match="penalties map paths to penalties"):
        run(begin(), 1, penalties=l2(1.0))
    with pytest.raises(TypeError, match="a loss is made by a call"):
        train(NET, begin(), DATA, loss=softmax_cross_entropy, optimizer=OPTIMIZER, epochs=1, batch_size=20)
    with pytest.raises(ValueError, match="opt_state is none of momentum"):
        train(
            NET, init_state(begin().params, sgd(0.1), make_key(0)), DATA,
            loss=LOSS, optimizer=OPTIMIZER, epochs=1, batch_size=20,
        )  # fmt: skip


def settings_of(**changes: object) -> dict[str, object]:
    return {
        "loss": LOSS, "optimizer": OPTIMIZER, "penalties": PENALTIES, "epochs": 2, "batch_size": 20, **changes
    }  # fmt: skip


@pytest.mark.parametrize("steps", [1, 7, 10, 11, 15])
def test_training_goes_on_from_within_an_epoch_as_if_it_had_not_stopped(steps: int) -> None:
    """Its record too: the running means, and the medians of the update ratios. Step 11 is the last of an epoch."""
    whole = run(begin(), 2)
    training = train(NET, begin(), DATA, **settings_of())
    done = list(itertools.islice((m for m in training.steps() if not isinstance(m, EpochRecord)), steps))
    state = training.state
    assert (len(done), state.step) == (steps, steps)
    rest = run(state, 2)
    assert [numbers(r) for r in rest] == [numbers(r) for r in whole][2 - len(rest) :]


def test_steps_and_records_are_of_one_run() -> None:
    training = train(NET, begin(), DATA, **settings_of())
    first = next(training)
    rest = list(training.steps())
    assert [isinstance(m, EpochRecord) for m in rest] == [False] * 11 + [True]
    assert [numbers(r) for r in (first, rest[-1])] == [numbers(r) for r in run(begin(), 2)]
    assert next(training, None) is None


def test_the_state_of_a_training_is_a_copy() -> None:
    training = train(NET, begin(), DATA, **settings_of())
    moments = training.steps()
    next(moments)
    state = training.state
    kept = copy_state(state)
    next(moments)
    assert tree.equal((state.params, state.opt_state), (kept.params, kept.opt_state))
    assert not tree.equal(training.state.params, kept.params)


def test_a_step_that_was_cut_off_leaves_no_state() -> None:
    net = linear(10)
    calls = itertools.count()

    def vjp(*arguments: object, **options: object) -> object:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return net.vjp(*arguments, **options)

    cut = chain(flatten(), attrs.evolve(net, vjp=vjp))
    training = train(cut, begin(cut), DATA, **settings_of(penalties=None))
    with pytest.raises(KeyboardInterrupt):
        next(training)
    with pytest.raises(ValueError, match="the last step was cut off, and the state is half-written"):
        _ = training.state


def test_epochs_are_counted_by_the_state_and_not_by_its_steps() -> None:
    """4 epochs of 11 steps, then 2 of 7 with larger batches, then 1 of 4 with less data."""
    (*_, last) = run(begin(), 4)
    records = run(last.state, 6, batch_size=30)
    assert [(r.epoch, r.steps) for r in records] == [(5, 51), (6, 58)]
    said = ("from epoch 5 on", "205 examples in batches of 30; before, 205 examples in batches of 20")
    assert records[0].settings[-1] == said
    fewer = attrs.evolve(DATA, train=DATA.train.take(np.arange(100)))
    (record,) = train(NET, records[-1].state, fewer, **settings_of(epochs=7, batch_size=30))
    assert (record.epoch, record.steps, record.state.step) == (7, 62, 62)
    assert record.settings[-1][0] == "from epoch 7 on"


def test_within_an_epoch_nothing_of_it_can_change() -> None:
    training = train(NET, begin(), DATA, **settings_of())
    list(itertools.islice(training.steps(), 3))
    state = training.state
    before = "3 batches into an epoch of 205 examples in batches of 20, which cannot go on with"
    with pytest.raises(ValueError, match=f"{before} 205 examples in batches of 30: go on with the same"):
        run(state, 2, batch_size=30)
    fewer = attrs.evolve(DATA, train=DATA.train.take(np.arange(100)))
    with pytest.raises(ValueError, match=f"{before} 100 examples in batches of 20"):
        train(NET, state, fewer, **settings_of())
    with pytest.raises(ValueError, match="3 batches into an epoch with 2 penalties, which cannot go on with 0"):
        run(state, 2, penalties=None)


def test_steps_outside_train_are_noticed() -> None:
    """Before train, they are part of no epoch. After it, the state's place in an epoch is not known any more."""
    step = make_step(NET, LOSS, OPTIMIZER)
    batch = next(batches(DATA.train, 20, normalize=normalization(DATA.train.x)))
    state, _ = step(begin(), batch)
    records = run(state, 1)
    assert [(r.epoch, r.steps) for r in records] == [(1, 12)]
    state, _ = step(records[0].state, batch)
    with pytest.raises(ValueError, match="since epoch 1 of train, 1 steps were made with this state outside train"):
        run(state, 2)
    assert [r.epoch for r in run(attrs.evolve(state, progress=None), 1)] == [1]


def test_a_record_says_where_the_schedule_ends() -> None:
    for optimizer, end in ((OPTIMIZER, None), (sgd(one_cycle(0.1, 22)), 22)):
        state = init_state(begin().params, optimizer, make_key(2))
        (record,) = run(state, 1, optimizer=optimizer)
        assert (record.schedule_steps, record.steps) == (end, 11)
    assert record.total_seconds > record.seconds


PIXELS = np.arange(160, dtype=np.int64).reshape(10, 4, 4)


@pytest.mark.parametrize(
    ("x", "given"),
    [
        (PIXELS, r"got dtype int64 \(pixels from 0 to 255\? x.astype\(np.uint8\), which training normalises; other"),
        (PIXELS.astype(np.uint16), r"got dtype uint16 \(pixels from 0 to 255\? x.astype\(np.uint8\)"),
        (PIXELS * 2, r"got dtype int64 \(x.astype\(np.float32\)\?\)"),
        (PIXELS - 1, r"got dtype int64 \(x.astype\(np.float32\)\?\)"),
        (PIXELS > 9, r"got dtype bool \(x.astype\(np.float32\)\?\)"),
        (PIXELS.astype(np.float64), r"got dtype float64 \(x.astype\(np.float32\)\?\)"),
        (PIXELS.astype(np.float16), r"got dtype float16 \(x.astype\(np.float32\)\?\)"),
        (PIXELS.astype(">f4"), r"got dtype >f4 \(x.astype\(np.float32\)\?\)"),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
@pytest.mark.usefixtures("as_users_run")
def test_examples_of_another_dtype_are_told_what_to_become(x: np.ndarray, given: str) -> None:
    dataset = Dataset("mine", Split(x, np.zeros(10, int)), Split(x, np.zeros(10, int)), ())
    net, optimizer = chain(flatten(), linear(2)), sgd(0.1)
    params, _ = net.init(make_key(0), (4, 4))
    with pytest.raises(
        ShapeError, match=f"^the training part of mine: expected examples of dtype float32, as the parameters, {given}"
    ):
        train(
            net, init_state(params, optimizer, make_key(1)), dataset,
            loss=softmax_cross_entropy(), optimizer=optimizer, epochs=1, batch_size=5,
        )  # fmt: skip


def weighted(split: Split, seed: int) -> Split:
    weight = np.random.default_rng(seed).integers(0, 4, len(split)).astype(np.float32)
    return Split(split.x, split.y, weight)


WEIGHTED = attrs.evolve(DATA, train=weighted(DATA.train, 0), test=weighted(DATA.test, 1))


def test_losses_and_accuracies_of_weighted_examples_are_weighted_means() -> None:
    """By hand: of the whole sets, and of the epoch's batches, the last of which is smaller. Class weights count too."""
    loss = softmax_cross_entropy(class_weights=range(1, 11))
    state, met = begin(), []
    settings = {"loss": loss, "optimizer": OPTIMIZER, "epochs": 1, "batch_size": 20}
    (record,) = train(NET, state, WEIGHTED, callback=lambda _, metrics: met.append(metrics), **settings)
    normalize = normalization(DATA.train.x)
    for split, stated in ((WEIGHTED.train, record.train), (WEIGHTED.test, record.test)):
        prediction = NET.predict(record.state.params, normalize(split.x))
        assert stated.data_loss == pytest.approx(loss(prediction, split.y, split.weight)[0], rel=1e-5)
        assert stated.accuracy == pytest.approx(loss.accuracy(prediction, split.y, split.weight), rel=1e-5)
        assert stated.examples == len(split)
    made = list(batches(WEIGHTED.train, 20, key=fold_in(state.key, 0)))
    by_class = [batch.weight * (1 + batch.y) for batch in made]
    wanted = np.average([m.data_loss for m in met], weights=[w.sum() for w in by_class])
    assert record.running.data_loss == pytest.approx(wanted, rel=1e-6)
    wanted = np.average([m.accuracy for m in met], weights=[b.weight.sum() for b in made])
    assert record.running.accuracy == pytest.approx(wanted, rel=1e-6)
    told = dict(record.settings)
    assert told["training weights"] == told["testing weights"] == "loss and accuracy are means weighted by these"
    assert told["class weights"] == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10; the loss is a mean weighted by these"


def test_whole_weights_train_as_repetitions_do() -> None:
    """All examples in one batch: the order does not matter then."""
    many = attrs.evolve(
        DATA, train=DATA.train.take(np.repeat(np.arange(205), WEIGHTED.train.weight.astype(int))), test=DATA.test
    )
    once = attrs.evolve(DATA, train=WEIGHTED.train)
    # The statistics of the images would differ.
    as_floats = [attrs.evolve(d, train=floats(d.train), test=floats(d.test)) for d in (many, once)]
    found = [
        next(train(NET, begin(), data, loss=LOSS, optimizer=OPTIMIZER, epochs=1, batch_size=1000)) for data in as_floats
    ]
    assert found[1].train.data_loss == pytest.approx(found[0].train.data_loss, rel=1e-5)
    assert found[1].train.accuracy == pytest.approx(found[0].train.accuracy, rel=1e-6)
    for (path, a), b in zip(tree.named_leaves(found[0].state.params), tree.leaves(found[1].state.params), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5, err_msg=path)


def floats(split: Split) -> Split:
    return Split(split.x.astype(np.float32) / 255, split.y, split.weight)


def test_weighted_training_goes_on_from_within_an_epoch() -> None:
    loss = softmax_cross_entropy(class_weights=range(1, 11))
    settings = {"loss": loss, "optimizer": OPTIMIZER, "epochs": 1, "batch_size": 20}
    whole = next(train(NET, begin(), WEIGHTED, **settings))
    part = train(NET, begin(), WEIGHTED, **settings)
    for _ in range(4):
        next(part.steps())
    rest = next(train(NET, part.state, WEIGHTED, **settings))
    assert numbers(rest).running == numbers(whole).running
    assert rest.train == whole.train


@pytest.mark.usefixtures("as_users_run")
def test_wrong_weights_are_refused_at_the_call() -> None:
    nothing = Split(DATA.train.x, DATA.train.y, np.zeros(205, np.float32))
    with pytest.raises(
        ShapeError, match=r"training part of .*: expected an example that counts, got weights, or class"
    ):
        train(NET, begin(), attrs.evolve(DATA, train=nothing), **LEAST)
    double = Split(DATA.test.x, DATA.test.y, np.ones(103))
    with pytest.raises(
        ShapeError, match=r"testing part of .*: .*expected weights of dtype float32, .*got dtype float64"
    ):
        train(NET, begin(), attrs.evolve(DATA, test=double), **LEAST)
    mine = Loss("mine", lambda z, t: LOSS.value_and_grad(z, t), targets="labels")
    with pytest.raises(TypeError, match="mine takes no weights"):
        train(NET, begin(), WEIGHTED, **{**LEAST, "loss": mine})


def test_training_on_distributions() -> None:
    """On those of the labels it is training on the labels."""
    soft = [Split(part.x, np.eye(10, dtype=np.float32)[part.y]) for part in (DATA.train, DATA.test)]
    (found,) = train(NET, begin(), attrs.evolve(DATA, train=soft[0], test=soft[1]), **LEAST)
    (wanted,) = train(NET, begin(), DATA, **LEAST)
    assert found.train.data_loss == pytest.approx(wanted.train.data_loss, rel=1e-4)
    assert found.test.accuracy == pytest.approx(wanted.test.accuracy)
