"""The speed network's convolutions and its whole training step, beside PyTorch and JAX.

    pip install -e '.[bench]' && python tests/benchmarks/images.py [--batch 128 1000] [--rounds 9]

Every library runs in a process of its own. The processes take turns, round by round, and stated are ratios of rounds.
The first table is of funcnet alone: a convolution's rate over that of the bare product of the same arithmetic, with all
patches laid out beforehand, and the most memory that it takes beside its arguments, over that of its input. The second
is the time of a step over funcnet's. Writes reports/benchmarks_images.md.

    python tests/benchmarks/images.py --peer NAME BATCH

is such a process: it answers every line on standard input, the name of a round, with its seconds, or its memory.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Thread
from typing import Any

import numpy as np
from turns import CHECKOUT, answer, environment_of, ratio, results_folder, round_count

from funcnet.environment import environment
from funcnet.files import write_whole
from funcnet.table import Table, to_markdown

# Channels, filters and side of the convolutions of the speed network.
SHAPES = [(24, 64, 31), (64, 64, 15), (64, 256, 15), (256, 256, 7), (256, 256, 3)]
KINDS = ("forward", "weights", "both")
PEERS = ("funcnet", "torch", "torch_channels_last", "jax")
Rounds = Mapping[str, Callable[[], object]]


def funcnet(batch: int) -> Rounds:
    """Each convolution in both ways, the bare products, and the step."""
    import funcnet as fn
    from funcnet.engines.numpy import conv as kernels
    from funcnet.engines.numpy.planner import plan
    from funcnet.models import speednet

    draws, rounds = np.random.default_rng(0), dict[str, Callable[[], object]]()

    def array(*shape: int) -> Any:
        return draws.standard_normal(shape, np.float32)

    def convolution(kernel: Any, kind: str, tiles: bool, arguments: tuple[Any, ...]) -> None:
        params, x, dy, total = arguments
        kernels.pays = lambda *shapes: tiles
        if kind == "forward":
            kernel.forward(params, x, False, None)
        else:
            kernel.backward(params, kernel_residuals(x), dy, False, total, 0.0, kind == "both")

    from funcnet.layers.conv import ConvResiduals as kernel_residuals

    chosen = kernels.pays
    for channels, filters, side in SHAPES:
        layer = fn.conv2d(filters, bias=False)
        params, _ = layer.init(fn.make_key(0), (side, side, channels))
        total = fn.tree.map(np.array, params)
        total.weight.setflags(write=True)
        x, dy = array(batch, side, side, channels), array(batch, side, side, filters)
        patches, matrix, rows = (
            array(x[..., 0].size, 9 * channels),
            array(9 * channels, filters),
            dy.reshape(-1, filters),
        )
        name = f"{channels}-{filters}-{side}"
        for kind in KINDS:
            for tiles in (False, True):
                work = partial(convolution, plan(layer), kind, tiles, (params, x, dy, total))
                way = "tiles" if tiles else "patches"
                rounds[f"{name} {kind} {way}"] = work
                rounds[f"{name} {kind} {way} memory"] = partial(peak, work, x.nbytes)
        rounds[f"{name} forward bare"] = lambda a=patches, b=matrix: a @ b
        rounds[f"{name} weights bare"] = lambda a=patches, b=rows: a.T @ b
        rounds[f"{name} both bare"] = lambda a=patches, b=rows, c=matrix: (a.T @ b, b @ c.T)

    net = speednet(fn.conv2d(24, 2, padding="valid"))
    optimizer = fn.nesterov(1e-3, 0.85)
    state = fn.copy_state(fn.init_state(net.init(fn.make_key(0), (32, 32, 3))[0], optimizer, fn.make_key(0)))
    step = fn.make_step(net, fn.softmax_cross_entropy(label_smoothing=0.2), optimizer, donate=True)
    whole = fn.Batch(array(batch, 32, 32, 3), draws.integers(0, 10, batch))

    def one_step() -> None:
        nonlocal state
        kernels.pays = chosen
        state, _ = step(state, whole, penalty_values=False)

    return {**rounds, "step": one_step}


def peak(work: Callable[[], object], over: int) -> float:
    """The most memory that the work took, in threads of its own, which keep nothing from before."""
    from funcnet.engines.numpy import cores

    cores._threads.cache_clear()
    thread = Thread(target=work)
    tracemalloc.start()
    thread.start()
    thread.join()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / over


def torch(batch: int, *, channels_last: bool = False) -> Rounds:
    """The step of the same network by PyTorch, its images in this memory layout."""
    import torch
    from torch import nn

    layout = torch.channels_last if channels_last else torch.contiguous_format

    def block(before: int, width: int) -> list[nn.Module]:
        first, second = (nn.Conv2d(c, width, 3, padding=1, bias=False) for c in (before, width))
        norms = [nn.BatchNorm2d(width) for _ in range(2)]
        gelu = partial(nn.GELU, approximate="tanh")
        return [first, nn.MaxPool2d(2), norms[0], gelu(), second, norms[1], gelu()]

    blocks = [module for before, width in ((24, 64), (64, 256), (256, 256)) for module in block(before, width)]
    head = [nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False)]
    net = nn.Sequential(nn.Conv2d(3, 24, 2), nn.GELU(approximate="tanh"), *blocks, *head).to(memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.85, nesterov=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.2)
    x, y = torch.randn(batch, 3, 32, 32).to(memory_format=layout), torch.randint(0, 10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        value.item()

    return {"step": step}


def jax(batch: int) -> Rounds:
    """The step of the same network by JAX, compiled."""
    import jax
    import jax.numpy as jnp

    def convolved(x: Any, w: Any, padding: str = "SAME") -> Any:
        return jax.lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def pooled(x: Any, size: int) -> Any:
        window = (1, size, size, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def normed(x: Any, params: Any) -> Any:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return jax.nn.gelu(params[0] * (x - mean) / jnp.sqrt(variance + 1e-5) + params[1])

    def loss(params: Any, x: Any, y: Any) -> Any:
        first, blocks, last = params
        x = jax.nn.gelu(convolved(x, first[0], "VALID") + first[1])
        for one, norm, two, norm2 in blocks:
            x = normed(pooled(convolved(x, one), 2), norm)
            x = normed(convolved(x, two), norm2)
        log_p = jax.nn.log_softmax(pooled(x, 3).reshape(len(x), -1) @ last / 9)
        return -jnp.mean(0.8 * log_p[jnp.arange(len(y)), y] + 0.2 * log_p.mean(axis=1))

    draws = np.random.default_rng(0)

    def array(*shape: int) -> Any:
        return jnp.asarray(draws.standard_normal(shape, np.float32) / np.sqrt(np.prod(shape[:-1])))

    def norm(width: int) -> Any:
        return jnp.ones(width), jnp.zeros(width)

    blocks = [(array(3, 3, c, w), norm(w), array(3, 3, w, w), norm(w)) for c, w in ((24, 64), (64, 256), (256, 256))]
    params = ((array(2, 2, 3, 24), jnp.zeros(24)), blocks, array(256, 10))
    x, y = jnp.asarray(draws.standard_normal((batch, 32, 32, 3), np.float32)), jnp.asarray(draws.integers(0, 10, batch))

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, velocity: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, x, y)
        velocity = jax.tree.map(lambda v, g: 0.85 * v + g, velocity, grads)
        moved = jax.tree.map(lambda p, v, g: p - 1e-3 * (g + 0.85 * v), params, velocity, grads)
        return moved, velocity, value

    state = [params, jax.tree.map(jnp.zeros_like, params)]

    def step() -> None:
        *state[:], value = update(*state)
        value.block_until_ready()

    return {"step": step}


ROUNDS = {"funcnet": funcnet, "torch": torch, "torch_channels_last": partial(torch, channels_last=True), "jax": jax}


def serve(peer: str, batch: int) -> None:
    """Answer the names of rounds with their seconds."""
    rounds = ROUNDS[peer](batch)
    rounds["step"]()
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        measured = rounds[line.strip()]()
        print(measured if isinstance(measured, float) else time.perf_counter() - began, flush=True)


@contextmanager
def process(peer: str, batch: int) -> Iterator[subprocess.Popen[str]]:
    """A peer's process that has made its first step."""
    command = [sys.executable, __file__, "--peer", peer, str(batch)]
    env = environment_of(CHECKOUT)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as made:
        try:
            answer(made)
            yield made
        finally:
            made.kill()


def in_turns(asked: list[tuple[str, str]], batch: int, rounds: int) -> dict[tuple[str, str], list[float]]:
    """The seconds of every (peer, round), in turns."""
    with ExitStack() as stack:
        made = {peer: stack.enter_context(process(peer, batch)) for peer in dict.fromkeys(peer for peer, _ in asked)}
        seconds: dict[tuple[str, str], list[float]] = {one: [] for one in asked}
        for _, (peer, name) in itertools.product(range(rounds), asked):
            seconds[peer, name].append(float(answer(made[peer], name)))
    return seconds


def convolutions(batch: int, rounds: int) -> Table:
    """The rate of each convolution over that of its bare product."""
    names = [f"{channels}-{filters}-{side}" for channels, filters, side in SHAPES]
    ways = ("bare", "patches", "tiles")
    seconds = in_turns([("funcnet", f"{n} {k} {w}") for n in names for k in KINDS for w in ways], batch, rounds)

    def rate(name: str, kind: str, way: str) -> str:
        bare, own = (seconds["funcnet", f"{name} {kind} {one}"] for one in ("bare", way))
        return f"{ratio(bare, own)[0]:.2f}"

    memory = in_turns([("funcnet", f"{n} both {w} memory") for n in names for w in ways[1:]], batch, 1)
    rows = [
        (
            name,
            *(rate(name, kind, way) for kind in KINDS for way in ways[1:]),
            *(f"{memory['funcnet', f'{name} both {way} memory'][0]:.1f}" for way in ways[1:]),
        )
        for name in names
    ]
    heads = [f"{kind}, by {way}" for kind in ("forward", "dW", "dW and dx", "memory over x") for way in ways[1:]]
    return Table(f"Rate over the bare product's, batch {batch}", ("channels-filters-side", *heads), rows)


def steps(batch: int, rounds: int) -> Table:
    """The time of every peer's step over funcnet's."""
    seconds = in_turns([(peer, "step") for peer in PEERS], batch, rounds)
    own = seconds["funcnet", "step"]
    rows = []
    for peer in PEERS[1:]:
        middle, low, high = ratio(seconds[peer, "step"], own)
        rows.append((peer.replace("_", " "), f"{middle:.2f}", f"{low:.2f} to {high:.2f}"))
    return Table(f"Time of a step over funcnet's, batch {batch}", ("peer", "median", "quartiles"), rows)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="The speed network beside PyTorch and JAX.")
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 1000], metavar="N")
    parser.add_argument("--rounds", type=round_count, default=9)
    parser.add_argument("--out", type=results_folder, default=CHECKOUT / "reports", metavar="DIR")
    parser.add_argument("--peer", nargs=2, metavar=("NAME", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        serve(options.peer[0], int(options.peer[1]))
        return
    parts = [f"# Images\n\n`python tests/benchmarks/images.py`, {options.rounds} rounds. {machine()}.\n"]
    for batch in options.batch:
        for table in (convolutions(batch, options.rounds), steps(batch, options.rounds)):
            parts.append(to_markdown(table))
            print(parts[-1], flush=True)
    write_whole(options.out / "benchmarks_images.md", "\n".join(parts))


def machine() -> str:
    """The processor and the libraries."""
    return ", ".join(f"{name} {value}" for name, value in environment())


if __name__ == "__main__":
    main()
