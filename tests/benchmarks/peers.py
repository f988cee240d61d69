"""Every library as its users would write the same training: one process each.

    python peers.py PEER SIZES BATCH EXAMPLES ACTIVATION OPTIMIZER ROUND [ROUND]

answers every line on standard input, the name of a round, with that round, and its seconds on standard output. Rounds
are

    epoch     one shuffled epoch of descent, by momentum or by Adam, on softmax cross-entropy with an L2 penalty on the
              matrices, every batch gathered
    steps     as many such steps on one batch that was gathered before
    predict   the logits of all examples, in batches

The first lines of output are

    what the peer is
    which thread pools its process has, with their kernels
    the loss of the last batch of a first epoch, which must be the same for all
    the most memory that the first rounds took, in bytes: all that the process holds, libraries and data too

With Adam the penalty's gradient is part of the gradient, too, for all: PyTorch's and Optax's decay of the weights comes
before the moments are taken. Activations other than ReLU, and Adam, are for funcnet, PyTorch and JAX alone.
"""

from __future__ import annotations

import itertools
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
import numpy as np
from threadpoolctl import threadpool_info
from workloads import L2, MOMENTUM, RATE, Problem, Workload, normalization, workload_of


@attrs.frozen
class Peer:
    """A library at work: what it is, and its rounds; ``epoch()`` returns the last batch's loss."""

    version: str
    epoch: Callable[[], float]
    steps: Callable[[], object]
    predict: Callable[[], object]


def funcnet(w: Workload, p: Problem) -> Peer:
    """The library's own epoch: shuffled by key, gathered from bytes and normalised batch by batch."""
    return _funcnet(w, p, before=False)


def funcnet_before(w: Workload, p: Problem) -> Peer:
    """The same of another checkout, which this process imports, by the names that it has."""
    return _funcnet(w, p, before=True)


def expect_kernels(kernels: Iterable[tuple[str, str]]) -> None:
    """Require a kernel for each part of a step, given (part, kernel) pairs: it should not fall back unseen.

    Raises:
        RuntimeError: naming the parts whose pure functions run.
    """
    if pure := [part for part, kernel in kernels if not kernel]:
        raise RuntimeError(f"the pure functions run, and no kernels, of {', '.join(pure)}")


def _funcnet(w: Workload, p: Problem, *, before: bool) -> Peer:
    import funcnet as fn
    from funcnet.data import Split, batches
    from funcnet.layers.linear import LinearParams

    if hasattr(fn, "engines"):
        init_state, weights = fn.init_state, [weight for weight, _ in p.params]  # which copy_state lays out
    else:  # a checkout of before there were engines, where init laid them out
        from funcnet.blas import fast_order

        init_state, weights = fn.start, [np.array(weight, order=fast_order(*weight.shape)) for weight, _ in p.params]
    hidden = [layer for width in w.sizes[1:-1] for layer in (fn.linear(width), getattr(fn, w.activation)())]
    net, loss = fn.chain(*hidden, fn.linear(w.sizes[-1])), fn.softmax_cross_entropy()
    params: list[object] = []
    for weight, (_, bias) in zip(weights, p.params, strict=True):
        params += [LinearParams(weight, bias.copy()), ()]
    tree = tuple(params[:-1])
    optimizer = fn.adam(RATE) if w.optimizer == "adam" else fn.momentum(RATE, MOMENTUM)
    penalties = fn.each_weight(fn.l2(L2), tree)
    if not before:
        expect_kernels(fn.engines.numpy().kernels(net, loss, optimizer, penalties))
    step = fn.make_step(net, loss, optimizer, penalties, donate=True)
    state = fn.copy_state(init_state(tree, optimizer, fn.make_key(0)))
    split = Split(p.images, p.y)
    normalize = normalization(w.sizes[0])

    def go_over(examples: Iterable[fn.Batch]) -> float:
        nonlocal state
        for number, batch in enumerate(itertools.islice(examples, w.steps)):
            # Every tenth step, as ``train`` does, and the last.
            state, met = step(state, batch, penalty_values=number % 10 == 0 or number == w.steps - 1)
        return met.loss

    def epoch() -> float:
        return go_over(batches(split, w.batch, normalize=normalize, key=fn.make_key(0)))

    def steps() -> object:
        return go_over(itertools.repeat(fn.Batch(p.x[: w.batch], p.y[: w.batch])))

    def predict() -> object:
        logits_of = fn.make_predict(net, state.params)
        for begin in range(0, w.examples, w.batch):
            logits = logits_of(p.x[begin : begin + w.batch])
        return logits

    return Peer(f"funcnet {fn.__version__}", epoch, steps, predict)


def products(w: Workload, p: Problem) -> Peer:
    """Nothing but the matrix products of the steps, as NumPy makes them of arrays that lie row by row."""
    weights = [weight for weight, _ in p.params]
    return _products(w, p, f"NumPy {np.__version__}", weights, np.matmul, lambda y, a, b: np.matmul(a, b, out=y))


def products_laid_out(w: Workload, p: Problem) -> Peer:
    """The same in the orders in memory, and by the BLAS calls, that funcnet makes them with."""
    from funcnet.engines.numpy import blas

    weights = [np.array(weight, order=blas.fast_order(*weight.shape)) for weight, _ in p.params]
    version = f"NumPy {np.__version__}, funcnet.engines.numpy.blas"
    return _products(w, p, version, weights, blas.product, lambda y, a, b: blas.gemm(y, 0.0, a, b))


def _products(
    w: Workload, p: Problem, version: str, weights: Sequence[np.ndarray],
    fresh: Callable[[np.ndarray, np.ndarray], np.ndarray],
    again: Callable[[np.ndarray, np.ndarray, np.ndarray], object],
) -> Peer:  # fmt: skip
    x = [p.x[: w.batch].copy()]
    for weight in weights:
        x.append(fresh(x[-1], weight))
    out_forward, out_weight = [np.empty_like(y) for y in x[1:]], [np.zeros_like(weight) for weight in weights]
    out_back = [np.empty_like(y) for y in x[1:-1]]

    def steps() -> float:
        for _ in range(w.steps):
            for i, weight in enumerate(weights):
                again(out_forward[i], x[i], weight)
            for i in reversed(range(len(weights))):
                again(out_weight[i], x[i].T, x[i + 1])
                if i:
                    again(out_back[i - 1], x[i + 1], weights[i].T)
        return float("nan")

    def predict() -> object:
        for _ in range(0, w.examples, w.batch):
            for i, weight in enumerate(weights):
                again(out_forward[i], x[i], weight)
        return out_forward[-1]

    return Peer(version, steps, steps, predict)


def _torch(w: Workload, p: Problem, *, compiled: bool) -> Peer:
    import torch
    from torch import nn

    activation = {
        "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus,
        "gelu": lambda: nn.GELU("tanh"),
    }[w.activation]  # fmt: skip
    hidden = [m for a, b in zip(w.sizes, w.sizes[1:-1], strict=False) for m in (nn.Linear(a, b), activation())]
    model = nn.Sequential(*hidden, nn.Linear(*w.sizes[-2:]))
    linears = [m for m in model if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for module, (weight, bias) in zip(linears, p.params, strict=True):
            module.weight.copy_(torch.from_numpy(weight.T.copy()))
            module.bias.copy_(torch.from_numpy(bias))
    groups = [
        {"params": [m.weight for m in linears], "weight_decay": L2},
        {"params": [m.bias for m in linears], "weight_decay": 0.0},
    ]
    adam = w.optimizer == "adam"
    optimizer = torch.optim.Adam(groups, lr=RATE) if adam else torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM)
    x, y = torch.from_numpy(p.x), torch.from_numpy(p.y)
    loss_of = nn.CrossEntropyLoss()
    run = torch.compile(model) if compiled else model
    order = torch.from_numpy(np.asarray(p.order).astype(np.int64))

    def step(some: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = loss_of(run(some), answers)
        loss.backward()
        optimizer.step()
        return loss

    def epoch() -> float:
        for begin in range(0, w.steps * w.batch, w.batch):
            rows = order[begin : begin + w.batch]
            if begin == (w.steps - 1) * w.batch:
                penalty = 0.5 * L2 * sum(float((m.weight.detach() ** 2).sum()) for m in linears)
            loss = step(x[rows], y[rows])
        return loss.item() + penalty

    def steps() -> object:
        some, answers = x[: w.batch], y[: w.batch]
        for _ in range(w.steps):
            loss = step(some, answers)
        return loss.item()

    def predict() -> object:
        with torch.inference_mode():
            for begin in range(0, w.examples, w.batch):
                logits = run(x[begin : begin + w.batch])
        return logits

    kernels = f"{'MKL' if torch.backends.mkl.is_available() else 'no MKL'}, {torch.backends.cpu.get_cpu_capability()}"
    return Peer(f"PyTorch {torch.__version__} ({kernels}, {torch.get_num_threads()} threads)", epoch, steps, predict)


def torch_eager(w: Workload, p: Problem) -> Peer:
    """PyTorch as its tutorials write it, but for a DataLoader, which would slow it down."""
    return _torch(w, p, compiled=False)


def torch_compile(w: Workload, p: Problem) -> Peer:
    """The same, its model compiled."""
    return _torch(w, p, compiled=True)


def jax_jit(w: Workload, p: Problem) -> Peer:
    """JAX, the whole step and the gathering compiled, its state given up to the step."""
    import jax
    import jax.numpy as jnp

    activation = getattr(jax.nn, w.activation)  # its gelu is the tanh form

    def forward(params, x):  # type: ignore[no-untyped-def]
        for weight, bias in params[:-1]:
            x = activation(x @ weight + bias)
        return x @ params[-1][0] + params[-1][1]

    def loss_of(params, x, y):  # type: ignore[no-untyped-def]
        log_p = jax.nn.log_softmax(forward(params, x))
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def penalty_of(params):  # type: ignore[no-untyped-def]
        return 0.5 * L2 * sum((weight**2).sum() for weight, _ in params)

    def velocity_of(weight, v, g):  # type: ignore[no-untyped-def]
        return MOMENTUM * v + g + (L2 * weight if weight.ndim == 2 else 0)

    def by_momentum(params, velocity, grads):  # type: ignore[no-untyped-def]
        velocity = jax.tree.map(velocity_of, params, velocity, grads)
        return jax.tree.map(lambda a, v: a - RATE * v, params, velocity), velocity

    def by_optax(params, opt_state, grads):  # type: ignore[no-untyped-def]
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def step(state, some, answers):  # type: ignore[no-untyped-def]
        loss, grads = jax.value_and_grad(loss_of)(state[0], some, answers)
        return update(*state, grads), loss

    x, y, order = jnp.asarray(p.x), jnp.asarray(p.y), jnp.asarray(np.asarray(p.order))
    params = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in p.params]
    if w.optimizer == "adam":
        import optax

        matrices = jax.tree.map(lambda array: array.ndim == 2, params)
        optimizer = optax.chain(optax.add_decayed_weights(L2, matrices), optax.adam(RATE))
        update, state, version = by_optax, (params, optimizer.init(params)), f", Optax {optax.__version__}"
    else:
        update, state, version = by_momentum, (params, jax.tree.map(jnp.zeros_like, params)), ""
    gather_and_step = jax.jit(lambda state, rows: step(state, x[rows], y[rows]), donate_argnums=0)
    step_alone, infer, jitted_penalty = jax.jit(step, donate_argnums=0), jax.jit(forward), jax.jit(penalty_of)

    def epoch() -> float:
        nonlocal state
        for begin in range(0, w.steps * w.batch, w.batch):
            if begin == (w.steps - 1) * w.batch:
                penalty = jitted_penalty(state[0])
            state, loss = gather_and_step(state, order[begin : begin + w.batch])
        return float(loss + penalty)

    def steps() -> object:
        nonlocal state
        some, answers = x[: w.batch], y[: w.batch]
        for _ in range(w.steps):
            state, loss = step_alone(state, some, answers)
        return float(loss)

    def predict() -> object:
        for begin in range(0, w.examples, w.batch):
            logits = infer(state[0], x[begin : begin + w.batch])
        return logits.block_until_ready()

    return Peer(f"JAX {jax.__version__}{version}", epoch, steps, predict)


def scikit_learn(w: Workload, p: Problem) -> Peer:
    """MLPClassifier's own epoch; its shuffling cannot be chosen, so its losses are its own."""
    import sklearn
    from sklearn.neural_network import MLPClassifier

    # Its penalty is alpha / (2 batch) times the sum of squares.
    model = MLPClassifier(
        w.sizes[1:-1], solver="sgd", alpha=L2 * w.batch, batch_size=w.batch, learning_rate_init=RATE,
        momentum=MOMENTUM, nesterovs_momentum=False, random_state=0,
    )  # fmt: skip
    classes = np.arange(w.sizes[-1])
    x, y = p.x[: w.steps * w.batch], p.y[: w.steps * w.batch]
    model.partial_fit(x[: w.batch], y[: w.batch], classes=classes)
    model.coefs_ = [weight.copy() for weight, _ in p.params]
    model.intercepts_ = [bias.copy() for _, bias in p.params]

    def epoch() -> float:
        model.partial_fit(x, y)
        return float("nan")

    def steps() -> object:
        for _ in range(w.steps):
            model.partial_fit(x[: w.batch], y[: w.batch])
        return model

    def predict() -> object:
        for begin in range(0, w.examples, w.batch):
            chances = model.predict_proba(p.x[begin : begin + w.batch])
        return chances

    return Peer(f"scikit-learn {sklearn.__version__}", epoch, steps, predict)


def hips_autograd(w: Workload, p: Problem) -> Peer:
    """HIPS autograd, the update in plain NumPy."""
    import importlib.metadata

    import autograd.numpy as anp
    from autograd import value_and_grad

    def forward(params, x):  # type: ignore[no-untyped-def]
        for weight, bias in params[:-1]:
            x = anp.maximum(anp.dot(x, weight) + bias, 0)
        return anp.dot(x, params[-1][0]) + params[-1][1]

    def loss_of(params, x, y):  # type: ignore[no-untyped-def]
        z = forward(params, x)
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
        penalty = 0.5 * L2 * sum(anp.sum(weight**2) for weight, _ in params)
        return -anp.mean(log_p[anp.arange(len(y)), y]) + penalty

    grad = value_and_grad(loss_of)
    params = [(weight.copy(), bias.copy()) for weight, bias in p.params]
    velocity = [(np.zeros_like(weight), np.zeros_like(bias)) for weight, bias in p.params]

    def step(some: np.ndarray, answers: np.ndarray) -> float:
        nonlocal params, velocity
        loss, grads = grad(params, some, answers)
        velocity = [
            tuple(np.float32(MOMENTUM) * v + g for v, g in zip(vs, gs, strict=True))
            for vs, gs in zip(velocity, grads, strict=True)
        ]
        params = [
            tuple(a - np.float32(RATE) * v for a, v in zip(ps, vs, strict=True))
            for ps, vs in zip(params, velocity, strict=True)
        ]
        return float(loss)

    def epoch() -> float:
        for begin in range(0, w.steps * w.batch, w.batch):
            rows = p.order[begin : begin + w.batch]
            loss = step(p.x[rows], p.y[rows])
        return loss

    def steps() -> object:
        for _ in range(w.steps):
            loss = step(p.x[: w.batch], p.y[: w.batch])
        return loss

    def predict() -> object:
        for begin in range(0, w.examples, w.batch):
            logits = forward(params, p.x[begin : begin + w.batch])
        return logits

    return Peer(f"autograd {importlib.metadata.version('autograd')}", epoch, steps, predict)


PEERS = {
    make.__name__: make
    for make in (
        products,
        products_laid_out,
        funcnet,
        funcnet_before,
        torch_eager,
        torch_compile,
        jax_jit,
        scikit_learn,
        hips_autograd,
    )
}


def _pools() -> str:
    """``openblas 0.3.31 SkylakeX, 2 threads; ...``."""
    return "; ".join(
        f"{pool['internal_api']} {pool['version'] or ''} {pool.get('architecture', '')}".strip().replace("  ", " ")
        + f", {pool['num_threads']} threads"
        for pool in threadpool_info()
    )


def _forget_peak() -> None:
    """What the process held until now does not count, where the system (Linux) can forget it."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _peak() -> int:
    """The most memory the process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """One peer, until its input ends."""
    name, sizes, batch, examples, activation, optimizer, *kinds = sys.argv[1:]
    workload = workload_of(sizes, batch, examples, activation, optimizer)
    peer = PEERS[name](workload, Problem(workload))
    rounds: dict[str, Callable[[], object]] = {"epoch": peer.epoch, "steps": peer.steps, "predict": peer.predict}
    _forget_peak()
    loss = rounds[kinds[0]]()
    for kind in kinds:
        rounds[kind]()
    print(peer.version)
    print(_pools())
    print(loss if kinds[0] == "epoch" else float("nan"))
    print(_peak(), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        rounds[line.strip()]()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
