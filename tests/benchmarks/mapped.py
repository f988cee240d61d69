"""Epochs over a file of images, mapped or read into memory.

    python mapped.py PATH array|mapped [GROUP]

answers every line on standard input with an epoch: its seconds, and the memory that the process holds for itself, in
bytes. With GROUP, the folder of a control group, the process joins it first.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np
from workloads import normalization

import funcnet as fn
from funcnet.data import Split, batches

INPUTS, HIDDEN, CLASSES, BATCH = 3072, 512, 10, 128


def put_out_of_memory(path: Path) -> None:
    """What the system still holds of the file would count for whoever read it."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def own_memory() -> int:
    """What the process holds but for files, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    """Train, an epoch a line."""
    path, kind, *group = sys.argv[1:]
    for folder in group:
        (Path(folder) / "cgroup.procs").write_text(str(os.getpid()))
    count = Path(path).stat().st_size // INPUTS
    size = count * INPUTS
    images = np.memmap(path, np.uint8, "r", shape=(size,)) if kind == "mapped" else np.fromfile(path, np.uint8, size)
    put_out_of_memory(Path(path))
    split = Split(images.reshape(count, INPUTS), np.arange(count) % CLASSES)
    normalize = normalization(INPUTS)
    net = fn.chain(fn.linear(HIDDEN), fn.relu(), fn.linear(CLASSES))
    params, _ = net.init(fn.make_key(0), (INPUTS,))
    optimizer = fn.momentum(0.001)
    step = fn.make_step(net, fn.softmax_cross_entropy(), optimizer, fn.each_weight(fn.l2(1e-4), params), donate=True)
    state = fn.copy_state(fn.init_state(params, optimizer, fn.make_key(0)))
    for epoch in itertools.count():
        if not sys.stdin.readline():
            return
        put_out_of_memory(Path(path))
        began = time.perf_counter()
        for number, batch in enumerate(batches(split, BATCH, normalize=normalize, key=fn.make_key(epoch))):
            state, _ = step(state, batch, penalty_values=number % 10 == 0)
        print(time.perf_counter() - began, own_memory(), flush=True)


if __name__ == "__main__":
    main()
