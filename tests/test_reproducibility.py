"""The same numbers again: from many threads, in fresh processes, and up to rounding by other kernels of BLAS."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import attrs
import numpy as np
import pytest
from pure_cases import LAYERS, LOSSES, NET, OPTIMIZERS, SMALL, params_of, target_of

import funcnet as fn
from funcnet import optimizers, tree
from funcnet.data.dataset import Split
from funcnet.engines.numpy.planner import plan
from funcnet.examination import examine
from funcnet.layer import AnyLayer
from funcnet.losses import Loss
from funcnet.optimizers import apply_updates

THREADS = 8
KEY = fn.make_key(0)
F4 = np.float32


# --- threads


@pytest.fixture(autouse=True)
def _often_switched() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def bits(made: Any) -> list[bytes | str]:
    """All bits of a result."""
    if isinstance(made, np.ndarray):
        return [made.tobytes()]
    if isinstance(made, tuple | list):
        return [part for entry in made for part in bits(entry)]
    if attrs.has(type(made)):
        return [part for field in attrs.fields(type(made)) for part in bits(getattr(made, field.name))]
    return [repr(made)]


def same_from_threads(run: Callable[[int], Any], rounds: int = 3) -> None:
    """``run(i)`` is the same bits whether alone or beside seven others, each with another i, begun at once."""
    wanted = [bits(run(i)) for i in range(THREADS)]
    for _ in range(rounds):
        barrier = Barrier(THREADS)

        def begun_together(i: int, barrier: Barrier = barrier) -> Any:
            barrier.wait()
            return run(i)

        with ThreadPoolExecutor(THREADS) as pool:
            assert [bits(made) for made in pool.map(begun_together, range(THREADS))] == wanted


def rows(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((40, *shape)).astype(F4)


@pytest.mark.parametrize(("layer", "in_shape"), LAYERS, ids=lambda value: str(value)[:40])
def test_layers_from_threads(layer: AnyLayer, in_shape: tuple[int, ...]) -> None:
    params, kernel = params_of(layer, in_shape, F4), plan(layer)

    def run(i: int) -> Any:
        x = rows(i, in_shape)
        y, residuals = layer.forward(params, x, fn.make_key(i))
        dy = np.cos(y)
        with np.errstate(all="ignore"):
            fast, kept = kernel.forward(params, x, False, fn.make_key(i))
            fast_dx = kernel.backward(params, kept, dy, False, None, 0.0, True)
        made = y, layer.vjp(params, residuals, dy), layer.predict(params, x), layer.advance(params, residuals)
        return *made, np.array(fast), fast_dx

    same_from_threads(run)


@pytest.mark.parametrize(("loss", "kind"), LOSSES, ids=str)
def test_losses_from_threads(loss: Loss, kind: str) -> None:
    def run(i: int) -> Any:
        z = rows(i, (300,))
        target = target_of(kind, z)
        batches = [fn.Batch(z, target), fn.Batch(z, target, np.abs(z[:, 0]))]
        engines = (fn.engines.plain(), fn.engines.numpy())
        return loss(z, target), [fn.evaluate(fn.identity(), (), batches, loss, engine=engine) for engine in engines]

    same_from_threads(run)


ALL_OPTIMIZERS = {
    **OPTIMIZERS,
    "accumulate": optimizers.accumulate(fn.adam(0.1), 2),
    "lookahead": optimizers.lookahead(fn.sgd(0.1), 2),
    "average": optimizers.average(fn.sgd(0.1)),
    "clip by norm": fn.compose(optimizers.clip_by_global_norm(1.0), fn.adam(0.1)),
    "plateau": fn.compose(fn.sgd(0.1), optimizers.reduce_on_plateau()),
}


def test_optimizers_from_threads() -> None:
    params = params_of(SMALL, (2, 3), F4)

    def run(i: int) -> Any:
        grads = tree.map(lambda w: np.cos(w + F4(i)), tree.trained(params))
        found = []
        for optimizer in ALL_OPTIMIZERS.values():
            updates, opt_state = optimizer.update(grads, optimizer.init(params), params, 0, loss=1.0)
            moved = apply_updates(params, updates)
            found += [updates, opt_state, moved, optimizer.evaluated(moved, opt_state)]
        return found

    same_from_threads(run, rounds=2)


@pytest.mark.parametrize("name", ["momentum", "adamw", "accumulate"])
def test_steps_from_threads(name: str) -> None:
    """One step, whose scratch buffers and cached traversal all threads share; donating ones each with its own state."""
    optimizer, loss = ALL_OPTIMIZERS[name], fn.softmax_cross_entropy()
    on_paths = fn.each_weight(fn.l2(1e-3), params_of(SMALL, (2, 3), F4))
    pure, donating = (fn.make_step(SMALL, loss, optimizer, on_paths, donate=donate) for donate in (False, True))

    def run(i: int) -> Any:
        params = tree.map(lambda a: a * F4(1 + i / 10), params_of(SMALL, (2, 3), F4))
        state = fn.init_state(params, optimizer, fn.make_key(i))
        given_up = fn.copy_state(state)
        found: list[Any] = []
        for step in range(3):
            batch = fn.Batch(rows(10 * step + i, (2, 3)), (np.arange(40) + i) % 4)
            state, metrics = pure(state, batch)
            given_up, other = donating(given_up, batch)
            found += [state, metrics, other, tree.map(np.copy, given_up.params)]
        return found

    same_from_threads(run, rounds=2)


def test_predictions_and_examinations_from_threads() -> None:
    net = fn.chain(fn.linear(300), fn.relu(), fn.batch_norm(), fn.gelu(), fn.linear(10))
    params, _ = net.init(KEY, (200,))
    predict = fn.make_predict(net, params)

    def run(i: int) -> Any:
        x = rows(i, (200,))
        return predict(x), examine(net, params, Split(x, np.arange(40) % 10)), fn.random.normal(fn.make_key(i), (99,))

    same_from_threads(run)


# --- processes


def trained_in_a_process(out: Path, **settings: str) -> dict[str, np.ndarray] | None:
    """The numbers of ``short_training.py``; None where the process was killed by a signal."""
    script = Path(__file__).with_name("short_training.py")
    free = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "OMP_"))}
    ran = subprocess.run([sys.executable, script, out], env={**free, **settings}, capture_output=True, text=True)
    if ran.returncode < 0:
        return None
    assert ran.returncode == 0, ran.stderr
    with np.load(out) as found:
        return dict(found)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    found = trained_in_a_process(tmp_path_factory.mktemp("alone") / "out.npz", OPENBLAS_NUM_THREADS="1")
    assert found is not None
    return found


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_same_seed_machine_and_threads_give_the_same_bits(threads: str, tmp_path: Path) -> None:
    first, second = (trained_in_a_process(tmp_path / name, OPENBLAS_NUM_THREADS=threads) for name in ("a.npz", "b.npz"))
    assert first is not None
    assert second is not None
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes(), name
    assert np.isfinite(first["losses"]).all()
    assert first["losses"][-1, 0] < 0.6 * first["losses"][0, 0]


# A kernel for another processor may be made of instructions that this one lacks, or be broken: such a process is
# killed, and there is nothing to compare. Where BLAS is not OpenBLAS, all are the same.
@pytest.mark.parametrize(
    "settings",
    [
        *({"OPENBLAS_CORETYPE": kernels} for kernels in ("Haswell", "Sandybridge", "Nehalem", "Prescott", "SkylakeX")),
        {"OPENBLAS_NUM_THREADS": "2"},
    ],
    ids=lambda settings: ",".join(settings.values()),
)
def test_other_kernels_and_threads_differ_by_rounding(
    settings: dict[str, str], alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """After 15 steps in float32, by at most 2e-5 of the largest number of each array (2e-6 were seen)."""
    found = trained_in_a_process(tmp_path / "out.npz", **{"OPENBLAS_NUM_THREADS": "1", **settings})
    if found is None:
        pytest.skip(f"the processor cannot run these kernels: {settings}")
    for name, array in alone.items():
        assert np.abs(found[name] - array).max() <= 2e-5 * np.abs(array).max(), name


# --- pickles


def _pickled_in_a_process(tmp_path: Path, made: Any) -> str:
    """What a fresh process finds when it calls an unpickled function on its unpickled arguments, as bits in hex."""
    path = tmp_path / "made.pickle"
    path.write_bytes(pickle.dumps(made))
    code = (
        "import pathlib, pickle, sys; f, args = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes());"
        "import numpy as np; from funcnet import tree; made = f(*args);"
        "print(''.join(a.tobytes().hex() for a in tree.leaves(made[0] if isinstance(made, tuple) else made)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def _hex(made: Any) -> str:
    return "".join(a.tobytes().hex() for a in tree.leaves(made[0] if isinstance(made, tuple) else made))


@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_steps_and_predictions_go_to_other_processes(engine: fn.engines.Engine, tmp_path: Path) -> None:
    optimizer = fn.adamw(fn.one_cycle(0.1, 10))
    params = params_of(NET, (2, 3), F4)
    step = fn.make_step(NET, fn.softmax_cross_entropy(), optimizer, fn.each_weight(fn.l2(1e-3), params), engine=engine)
    state, batch = fn.init_state(params, optimizer, KEY), fn.Batch(rows(1, (2, 3)), np.arange(40) % 4)
    assert _pickled_in_a_process(tmp_path, (step, (state, batch))) == _hex(step(state, batch)[0])
    predict = fn.make_predict(NET, params, engine=engine)
    assert _pickled_in_a_process(tmp_path, (predict, (batch.x,))) == _hex(predict(batch.x))


def test_what_is_made_of_a_lambda_can_be_copied_but_not_pickled() -> None:
    """Python names the function. ``deepcopy`` takes such a function as it is."""
    net = fn.chain(fn.linear(3, init=lambda key, shape, *fans: fn.he(key, shape, *fans)), fn.relu())
    params, _ = net.init(KEY, (4,))
    loss = fn.Loss("mine", lambda z, t: (0.0, z))
    step = fn.make_step(net, loss, fn.sgd(lambda step: 0.1))
    for made in (net, loss, fn.sgd(lambda step: 0.1), fn.Penalty("mine", 1.0, lambda w: 0.0, lambda w: w), step):
        with pytest.raises((pickle.PicklingError, AttributeError), match="<lambda>"):
            pickle.dumps(made)
        copy.deepcopy(made)
    assert tree.equal(copy.deepcopy(net).init(KEY, (4,))[0], params)
    assert tree.equal(pickle.loads(pickle.dumps(params)), params)
