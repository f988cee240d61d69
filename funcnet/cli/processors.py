"""How many processors this process may use: of its affinity, and by the CPU quota of its control group (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["affinity", "cpu_quota"]


def affinity() -> int | None:
    """The processors that this process may run on; None where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def cpu_quota(root: Path | str = "/") -> float | None:
    """The processors' time that the control group of this process may use, in processors; None for no limit.

    Groups of version 2 have their quota and period in ``cpu.max``, those of version 1 in ``cpu.cfs_quota_us`` and
    ``cpu.cfs_period_us``. A group has no more than each group that it is in.
    """
    return min((quota for folder in _groups(Path(root)) if (quota := _quota(folder)) is not None), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the process's group for each version, and of the groups that it is in.

    Within a container the folder may not be there: its mount is then the group itself.
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
    except ValueError:  # no limit is "max" in version 2; and there may be no such files
        return None
    return quota / period if quota > 0 and period > 0 else None  # no limit is -1 in version 1


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
