import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from damage import KINDS, damaged
from runs import whole_run

import funcnet as fn
from funcnet import training as training_module
from funcnet import tree
from funcnet.checkpoints import Checkpoint, load_checkpoint, resume, save_checkpoint
from funcnet.data.dataset import DataError, Dataset, Split
from funcnet.engines import numpy as numpy_engine
from funcnet.engines import plain
from funcnet.files import FolderInUseError
from funcnet.step import Batch, Engine, Progress, TrainState

KEY = fn.make_key(0)
NET = fn.chain(fn.flatten(), fn.linear(8), fn.batch_norm(), fn.relu(), fn.dropout(0.2), fn.linear(3))
OPTIMIZERS = {
    "momentum": fn.momentum(0.1),
    "adamw": fn.adamw(1e-3),
    "muon": fn.muon(0.02),
    "lookahead": fn.optimizers.lookahead(fn.adam(1e-3), 2),
    "average": fn.optimizers.average(fn.sgd(0.1)),
    "plateau": fn.compose(fn.optimizers.reduce_on_plateau(patience=1), fn.sgd(0.1)),
    "accumulate": fn.optimizers.accumulate(fn.lion(1e-3), 3),
}


def beginning(net: Any = NET, optimizer: Any = OPTIMIZERS["adamw"], dtype: Any = np.float32) -> TrainState:
    params, _ = net.init(KEY, (4, 3))
    params = tree.map(lambda array: array.astype(dtype), params)
    return fn.init_state(params, optimizer, KEY)


def at_step(step: int, **changes: Any) -> Checkpoint:
    return Checkpoint(attrs.evolve(beginning(), step=step, **changes))


def same_bits(one: TrainState, other: TrainState) -> bool:
    a, b = (tree.named_leaves((state.params, state.opt_state)) for state in (one, other))
    return [(path, x.dtype, x.shape, x.tobytes()) for path, x in a] == [
        (path, x.dtype, x.shape, x.tobytes()) for path, x in b
    ]


PROGRESS = Progress(
    epoch=2, batches=3, batch_size=8, examples=60, step=19, seconds=0.1 + 0.2,
    metrics=np.array([[0.5, np.nan], [0.1, 1.0], [1 / 3, 0.25]]), ratios=np.zeros((0, 6)),
)  # fmt: skip


@pytest.mark.parametrize("progress", [None, PROGRESS])
@pytest.mark.parametrize("run", [None, whole_run()])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_checkpoint_comes_back(name: str, run: Any, progress: Any, tmp_path: Path) -> None:
    begun = beginning(optimizer=OPTIMIZERS[name])
    state = attrs.evolve(
        begun,
        params=tree.map(lambda array: array + np.float32(1 / 3), begun.params),
        key=fn.Key(2**64 - 1, 0),
        step=19,
        progress=progress,
    )
    path = save_checkpoint(tmp_path, Checkpoint(state, run))
    assert path == tmp_path / "checkpoint-0000000019.safetensors"
    for place in (tmp_path, path, str(path)):
        back = load_checkpoint(place, begun)
        assert same_bits(back.state, state)
        assert (back.state.key, back.state.step, back.run, back.skipped) == (state.key, 19, run, ())
        there = back.state.progress
        if progress is None:
            assert there is None
            continue
        for field in attrs.fields(Progress):
            value, wanted = getattr(there, field.name), getattr(progress, field.name)
            assert np.array_equal(value, wanted, equal_nan=True) if isinstance(wanted, np.ndarray) else value == wanted


def test_another_dtype_and_arrays_without_records(tmp_path: Path) -> None:
    for number, params in enumerate([np.arange(3.0), (np.zeros((0, 2)), None, ()), ()]):
        state = TrainState(params, (np.array(2, np.uint64), (np.array([True]),)), KEY, number)
        like = tree.map(np.zeros_like, state.params), tree.map(np.zeros_like, state.opt_state)
        save_checkpoint(tmp_path, Checkpoint(state))
        assert same_bits(load_checkpoint(tmp_path, TrainState(*like, KEY)).state, state)


# --- going on gives the same bits


def trained(net: Any, state: TrainState, optimizer: Any, x: Any, **options: Any) -> TrainState:
    """The state after a step with each batch."""
    step = fn.make_step(net, fn.softmax_cross_entropy(), optimizer, **options)
    for batch in x:
        state, _ = step(state, Batch(batch, np.arange(len(batch)) % 3))
    return state


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_with_the_same_bits(name: str, tmp_path: Path) -> None:
    optimizer, x = OPTIMIZERS[name], np.random.default_rng(0).normal(size=(12, 8, 4, 3)).astype(np.float32)
    begun = beginning(optimizer=optimizer)
    state = trained(NET, fn.copy_state(begun), optimizer, x[:5], donate=True)
    save_checkpoint(tmp_path, Checkpoint(state))
    ends = [
        trained(NET, fn.copy_state(begin), optimizer, x[5:], donate=True)
        for begin in (state, load_checkpoint(tmp_path, begun).state)
    ]
    assert same_bits(*ends)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("engine", [numpy_engine(), plain()], ids=str)
@pytest.mark.parametrize("examples", [1, 16])
def test_weights_come_back_in_the_order_in_which_they_lay(
    examples: int, engine: Engine, order: Any, tmp_path: Path
) -> None:
    """Products round otherwise in another one: in the plain engine, with batches of one example."""
    net, optimizer = fn.chain(fn.linear(129), fn.relu(), fn.linear(3)), OPTIMIZERS["adamw"]
    params, _ = net.init(KEY, (785,))
    begun = fn.init_state(tree.map(lambda array: np.array(array, order=order), params), optimizer, KEY)
    x = np.random.default_rng(0).normal(size=(4, examples, 785)).astype(np.float32)
    save_checkpoint(tmp_path, Checkpoint(begun))
    loaded = load_checkpoint(tmp_path, fn.init_state(params, optimizer, KEY)).state
    assert same_bits(*(trained(net, begin, optimizer, x, engine=engine) for begin in (begun, loaded)))


@pytest.mark.usefixtures("as_users_run")
def test_epochs_go_on_with_the_same_bits(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (50, 4, 3), np.uint8), draw.integers(0, 3, 50)
    data = Dataset("noise", Split(x, y), Split(x[:9], y[:9]), ("a", "b", "c"))

    def states(state: TrainState) -> list[TrainState]:
        records = fn.train(
            NET, state, data, loss=fn.softmax_cross_entropy(), optimizer=OPTIMIZERS["adamw"], epochs=4, batch_size=8
        )
        return [record.state for record in records]

    whole = states(beginning())
    save_checkpoint(tmp_path, Checkpoint(whole[1]))
    assert same_bits(states(load_checkpoint(tmp_path, beginning()).state)[-1], whole[-1])


# --- what does not fit


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            beginning(fn.chain(fn.flatten(), fn.linear(5), fn.batch_norm(), fn.relu(), fn.linear(3))),
            r"params\[1\]\.weight: the file has float32 of shape \(12, 8\), the network float32 of shape \(12, 5\)",
        ),
        (beginning(fn.chain(fn.flatten(), fn.linear(8))), r"\[2\]\.scale: the file has .*, the optimizer nothing"),
        (beginning(dtype=np.float64), r"params\[1\]\.weight: the file has float32 .*, the network float64 "),
        (
            beginning(optimizer=OPTIMIZERS["momentum"]),
            r"opt_state\[0\]\.velocity\[1\]\.weight: the file has nothing, the optimizer float32 of shape \(12, 8\)",
        ),
        (
            beginning(optimizer=fn.sgd(0.1)),
            r"opt_state\[0\]\.first_moment\[1\]\.bias: the file has .*, the optimizer n",
        ),
    ],
)
def test_another_network_or_optimizer_is_refused(like: TrainState, message: str, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, at_step(1))
    save_checkpoint(tmp_path, at_step(2))
    for place in (path, tmp_path):  # an older one would fit no better
        with pytest.raises(DataError, match=message) as error:
            load_checkpoint(place, like)
        assert str(error.value).startswith(str(tmp_path / "checkpoint-00"))


# --- the last good ones


def names(folder: Path) -> list[int]:
    return sorted(int(path.stem.partition("-")[2]) for path in folder.iterdir())


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        save_checkpoint(tmp_path / "a", at_step(step))
        save_checkpoint(tmp_path / "b", at_step(step), keep=1)
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == ([10, 15, 20], [20])


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    others = ["checkpoint-12.safetensors", "checkpoint-0000000001.safetensors.old", "model.safetensors", ".1-2x"]
    for name in others:
        (tmp_path / name).write_text("mine")
    save_checkpoint(tmp_path, at_step(5), keep=1)
    save_checkpoint(tmp_path, at_step(6), keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "checkpoint-0000000006.safetensors"}


def test_a_damaged_one_does_not_count(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        path = save_checkpoint(tmp_path, at_step(step))
    path.write_bytes(path.read_bytes()[:-1])
    save_checkpoint(tmp_path, at_step(20))
    assert names(tmp_path) == [5, 10, 15, 20]
    assert load_checkpoint(tmp_path, beginning()).skipped == ()
    save_checkpoint(tmp_path, at_step(25))
    save_checkpoint(tmp_path, at_step(30))
    assert names(tmp_path) == [20, 25, 30]


def test_steps_of_more_digits(tmp_path: Path) -> None:
    for step in (9_999_999_999, 10_000_000_000):
        save_checkpoint(tmp_path, at_step(step), keep=2)
    assert load_checkpoint(tmp_path, beginning()).state.step == 10_000_000_000


def test_one_of_an_earlier_step_than_those_there_is_refused(tmp_path: Path) -> None:
    """It would not be the newest, and the next run would go on from another one's."""
    later = save_checkpoint(tmp_path, at_step(10))
    with pytest.raises(DataError, match=rf"^{later}: this checkpoint is of a later step than 5, the one to be saved"):
        save_checkpoint(tmp_path, at_step(5))
    assert names(tmp_path) == [10]
    with pytest.raises(
        DataError, match=r"0010\.safetensors: this checkpoint is made with another key, and so of another"
    ):
        save_checkpoint(tmp_path, at_step(10, key=fn.make_key(1)))
    later.write_bytes(b"damaged")  # as after a power cut: the run went on from one before it
    save_checkpoint(tmp_path, at_step(5))
    assert names(tmp_path) == [5, 10]


@pytest.mark.parametrize("keep", [0, -1, 1.5])
def test_keep(keep: Any, tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError), match="keep"):
        save_checkpoint(tmp_path, at_step(5), keep)


# --- damage


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("damage", KINDS)
def test_damage_at_200_random_places_is_found_and_the_one_before_used(damage: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, at_step(5))
    path = save_checkpoint(tmp_path, Checkpoint(attrs.evolve(beginning(), step=10, progress=PROGRESS), whole_run()))
    like = beginning()
    for content in damaged(path.read_bytes(), damage):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{path}: .*(damaged|an empty file)"):
            load_checkpoint(path, like)
        found = load_checkpoint(tmp_path, like)
        assert found.state.step == 5
        assert [message.startswith(f"{path}: ") for message in found.skipped] == [True]


def test_a_folder_without_a_good_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no checkpoint in this folder"):
        load_checkpoint(tmp_path, beginning())
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none", beginning())
    (tmp_path / "checkpoint-0000000001.safetensors").write_bytes(b"")
    (tmp_path / "checkpoint-0000000002.safetensors").mkdir()
    for use in (load_checkpoint, resume):
        with pytest.raises(
            DataError, match=r"no checkpoint here can be used: .* a folder, not a file: .*002.*; .*empty file"
        ):
            use(tmp_path, beginning())


def test_a_model_is_no_checkpoint(tmp_path: Path) -> None:
    net = fn.linear(3)
    fn.save_model(tmp_path / "m", fn.Model(net, net.init(KEY, (4,))[0], (4,)))
    with pytest.raises(DataError, match="expected the file of a funcnet checkpoint, found that of a funcnet model"):
        load_checkpoint(tmp_path / "m", beginning())


# --- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a few checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """The checkpoints before stay good, and nothing else stays behind."""
    size = save_checkpoint(small_disk, at_step(0)).stat().st_size
    for step in range(1, 100):
        if shutil.disk_usage(small_disk).free < size:
            break
        save_checkpoint(small_disk, at_step(step), keep=100)
    with pytest.raises(OSError, match="No space left on device") as error:
        save_checkpoint(small_disk, at_step(step), keep=100)
    assert error.value.filename == str(small_disk / f"checkpoint-{step:010d}.safetensors")
    assert names(small_disk) == list(range(step))
    found = load_checkpoint(small_disk, beginning())
    assert (found.state.step, found.skipped) == (step - 1, ())


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save_checkpoint(tmp_path / "file", at_step(1))
    if not Path("/proc/self").is_dir():
        pytest.skip("this system has no folder in which nobody may make files")
    with pytest.raises(OSError, match=r"/proc/self"):
        save_checkpoint("/proc/self", at_step(1))


def test_a_failed_write_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, at_step(step))

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=r"checkpoint-0000000004\.safetensors"):
        save_checkpoint(tmp_path, at_step(4))
    assert names(tmp_path) == [1, 2, 3]


WRITER = """
import itertools, sys
import attrs
import funcnet as fn
net = fn.chain(fn.linear(64), fn.relu(), fn.linear(3))
state = fn.init_state(net.init(fn.make_key(0), (300,))[0], fn.adam(1e-3), fn.make_key(0))
for step in itertools.count(1):
    print(step, flush=True)
    fn.save_checkpoint(sys.argv[1], fn.Checkpoint(attrs.evolve(state, step=step)))
"""


@pytest.mark.usefixtures("as_users_run")
def test_a_writer_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    """It spends all its time writing, so every moment is within a checkpoint. The one before is there and good."""
    net = fn.chain(fn.linear(64), fn.relu(), fn.linear(3))
    like = fn.init_state(net.init(KEY, (300,))[0], fn.adam(1e-3), KEY)
    for kill in range(4):
        folder = tmp_path / str(kill)
        with subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                begun = int(line)
                if begun == 5 + kill:
                    time.sleep(0.001 * kill)
                    process.kill()
        found = load_checkpoint(folder, like)
        assert found.skipped == ()
        assert begun - 1 <= found.state.step <= begun
        save_checkpoint(folder, Checkpoint(attrs.evolve(like, step=1000)), keep=1)
        assert [path.name for path in folder.iterdir()] == ["checkpoint-0000001000.safetensors"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".{ended.pid}-77-checkpoint-0000000003.safetensors").write_text("half of it")
    (tmp_path / f".{os.getpid()}-77-checkpoint-0000000004.safetensors").write_text("another thread's")
    save_checkpoint(tmp_path, at_step(5))
    assert [path.name.partition("checkpoint-")[2] for path in sorted(tmp_path.iterdir())] == [
        "0000000004.safetensors", "0000000005.safetensors",
    ]  # fmt: skip


# --- resume


def test_resume(tmp_path: Path) -> None:
    state, run = beginning(), whole_run()
    first = attrs.evolve(run, history=(), planned_epochs=9, command="again")
    assert resume(tmp_path / "none", state, first) == Checkpoint(state, first)
    assert resume(tmp_path, state) == Checkpoint(state)
    save_checkpoint(tmp_path, Checkpoint(attrs.evolve(state, step=7), attrs.evolve(run, ended="Stopped by Ctrl-C")))
    found = resume(tmp_path, state, first)
    assert found.state.step == 7
    assert found.run == attrs.evolve(run, planned_epochs=9, command="again", ended="")
    assert resume(tmp_path, state).state.step == 7


@pytest.mark.parametrize(
    ("state", "run", "message"),
    [
        (attrs.evolve(beginning(), key=fn.make_key(1)), None, "another run, with the key Key"),
        (beginning(), attrs.evolve(whole_run(), seed=8), "another run, with the seed 7; this one has 8. Name another"),
        (beginning(), whole_run("cifar-100"), "another run, with the data set cifar-10; this one has cifar-100"),
        (
            beginning(),
            attrs.evolve(whole_run(), data=attrs.evolve(whole_run().data, train_sha256="ee" * 32)),
            "with the data with checksums abababab and cdcdcdcd; this one has with checksums eeeeeeee and cdcdcdcd",
        ),
    ],
)
def test_another_run_is_not_resumed(state: TrainState, run: Any, message: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint(attrs.evolve(beginning(), step=7), whole_run()))
    with pytest.raises(DataError, match=f"^{tmp_path}: .*{message}"):
        resume(tmp_path, state, run)


def test_checkpoints_without_the_record_that_is_asked_for(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, at_step(7))
    with pytest.raises(DataError, match="its checkpoints hold no record of the run"):
        resume(tmp_path, beginning(), whole_run())


# --- checkpointed


DATA = Dataset("made up", *2 * (Split(fn.random.normal(KEY, (20, 4, 3)), np.arange(20) % 3),), ())


def training(epochs: int = 2, state: TrainState | None = None, **options: Any) -> fn.Training:
    """An epoch has 4 steps."""
    optimizer = options.pop("optimizer", OPTIMIZERS["adamw"])
    return fn.train(
        NET, state or beginning(optimizer=optimizer), DATA, loss=fn.softmax_cross_entropy(), optimizer=optimizer,
        epochs=epochs, batch_size=5, **options,
    )  # fmt: skip


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.stem.partition("-")[2]) for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize(("steps", "saved"), [(1, [6, 7, 8]), (3, [3, 6, 8]), (4, [4, 8]), (None, [8])])
def test_a_checkpoint_is_written_every_few_steps_and_at_the_end(
    steps: int | None, saved: list[int], tmp_path: Path
) -> None:
    """The last one has all epochs in its record, also where it fell on the last step of one."""
    run = fn.new_run(NET, DATA, seed=0, epochs=2)
    records = list(fn.checkpointed(training(), tmp_path, run=run, steps=steps))
    assert [record.epoch for record in records] == [1, 2]
    assert steps_in(tmp_path) == saved
    last = load_checkpoint(tmp_path, beginning())
    assert last.run is not None
    assert last.run.epochs == 2
    assert last.state.progress is not None
    assert (last.state.progress.epoch, last.state.progress.batches) == (2, 0)
    assert same_bits(last.state, records[-1].state)


def test_a_checkpoint_is_written_every_few_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 40))  # 40 s from one look to the next
    monkeypatch.setattr("funcnet.checkpoints.time.monotonic", lambda: next(clock))
    list(fn.checkpointed(training(1), tmp_path, minutes=1, keep=9))
    assert steps_in(tmp_path) == [2, 4]


@pytest.mark.parametrize("augment", [None, fn.data.augment.compose(fn.data.augment.flip(), fn.data.augment.shift(1))])
def test_what_is_dropped_or_interrupted_is_saved(augment: Any, tmp_path: Path) -> None:
    iterator = fn.checkpointed(training(augment=augment), tmp_path / "a")
    next(iterator)
    iterator.close()
    assert steps_in(tmp_path / "a") == [4]

    def interrupt(step: int, metrics: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(fn.checkpointed(training(callback=interrupt, augment=augment), tmp_path / "b"))
    assert steps_in(tmp_path / "b") == [3]
    start = resume(tmp_path / "b", beginning())
    (*_, last), (*_, whole) = training(2, start.state, augment=augment), training(2, augment=augment)
    assert same_bits(last.state, whole.state)
    assert last.running == whole.running


def test_an_epoch_whose_examination_is_cut_off_is_recorded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps are in the checkpoint, and its record is made when the run goes on."""
    whole = recorded(training(), fn.new_run(NET, DATA, seed=0, epochs=2)).history
    calls = iter(range(9))
    examine = training_module.examine

    def cut_off(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return examine(*arguments, **options)

    monkeypatch.setattr(training_module, "examine", cut_off)
    run = fn.new_run(NET, DATA, seed=0, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        list(fn.checkpointed(training(), tmp_path, run=run))
    start = resume(tmp_path, beginning(), run)
    assert start.run is not None
    assert start.run.epochs == 1
    gone_on = recorded(training(2, start.state), start.run)
    assert [e.running for e in gone_on.history] == [e.running for e in whole]
    assert [e.test for e in gone_on.history] == [e.test for e in whole]


def recorded(records: Iterator[fn.EpochRecord], run: fn.RunRecord) -> fn.RunRecord:
    for record in records:
        run = run.and_epoch(record)
    return run


@pytest.mark.parametrize("steps", [1, 2, None])
def test_what_is_not_finite_stays_in_no_checkpoint(steps: int | None, tmp_path: Path) -> None:
    """The fifth update makes infinities. They show in the loss of the sixth step, and may be in a file by then."""

    def update(grads: Any, opt_state: Any, params: Any, now: Any) -> Any:
        return tree.map(lambda g: g * np.float32(np.inf if now.step == 4 else -0.01), grads), opt_state

    optimizer = fn.Optimizer("mine", lambda params: (), update, lambda step: 0.01)
    with pytest.raises(fn.NonFiniteError, match="the update by mine"):
        list(fn.checkpointed(training(optimizer=optimizer), tmp_path, steps=steps))
    start = resume(tmp_path, beginning(optimizer=optimizer))
    assert start.state.step == 4
    assert all(np.isfinite(array).all() for array in tree.leaves(start.state.params))


def test_a_folder_in_use_is_refused_and_wrong_cadences_too(tmp_path: Path) -> None:
    first = fn.checkpointed(training(), tmp_path)
    next(first)
    with pytest.raises(FolderInUseError, match="writes to this folder"):
        next(fn.checkpointed(training(), tmp_path))
    first.close()
    for options in ({"steps": 0}, {"minutes": 0}, {"minutes": float("nan")}, {"keep": 0}):
        with pytest.raises(ValueError, match="got"):
            fn.checkpointed(training(), tmp_path, **options)
