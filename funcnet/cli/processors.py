"""How many processors this process may use: its CPU affinity, and the CPU quota of its control group (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["affinity", "cpu_quota"]


def affinity() -> int | None:
    """The number of processors that this process may run on; None if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def cpu_quota(root: Path | str = "/") -> float | None:
    """How many processors' time the control group of this process may use; None if there is no limit.

    Groups of version 2 state their quota and period in ``cpu.max``. Groups of version 1 state them in
    ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``. The limit of a group holds for all groups within it.
    """
    return min((quota for folder in _groups(Path(root)) if (quota := _quota(folder)) is not None), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's group and of all groups around it, for each version.

    In a container, the folder of the group may be missing. The mount is then the group itself.
    """
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = mounts / controllers
        while True:
            yield mount / path.strip("/")
            if not path.strip("/"):
                break
            path = path.rpartition("/")[0]


def _quota(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split() or [
        *_text(folder / "cpu.cfs_quota_us").split(), *_text(folder / "cpu.cfs_period_us").split(),
    ]  # fmt: skip
    try:
        quota, period = map(int, words)
    except ValueError:  # "max" is no limit in version 2, and the files may be missing
        return None
    return quota / period if quota > 0 and period > 0 else None  # -1 is no limit in version 1


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
