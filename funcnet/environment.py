"""What a program runs on: the versions, the processor, and the BLAS that does its products."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

from funcnet.version import __version__

__all__ = ["PINS", "environment"]

# What chooses a BLAS's kernels, its use of the cache and its threads in place of the BLAS itself.
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def environment() -> tuple[tuple[str, str], ...]:
    """The (name, value) pairs that tell one machine's results and speed from another's."""
    pins = ", ".join(f"{name}={os.environ[name]}" for name in PINS if name in os.environ)
    return (
        ("funcnet", __version__),
        ("Python", platform.python_version()),
        ("NumPy", np.__version__),
        ("BLAS", _blas()),
        ("processor", f"{_processor()}, {os.cpu_count()} logical cores"),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("BLAS settings in the environment", pins or "none"),
    )


def _blas() -> str:
    """Which library, which of its kernels, how many threads: ``openblas 0.3.31, SkylakeX kernels, 2 threads``."""
    from threadpoolctl import threadpool_info  # imported where it is needed

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return "; ".join(
        f"{pool['internal_api']} {pool['version'] or ''}, {pool.get('architecture', 'unknown')} kernels, "
        f"{pool['num_threads']} thread{'s' if pool['num_threads'] != 1 else ''}"
        for pool in pools
    ) or _built_with()  # fmt: skip


def _built_with() -> str:
    """What NumPy was built with, where the library in use does not say (Accelerate, for one)."""
    config = np.show_config(mode="dicts")
    found = config["Build Dependencies"]["blas"] if config else {}
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def _processor() -> str:
    """The processor's own name; Python's ``platform`` knows it on few systems.

    In a virtual machine the name may say no more than the maker: family and model tell its generation.
    """
    try:
        if platform.system() == "Linux":
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
            said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if name := said.get("model name"):
                family, model = said.get("cpu family"), said.get("model")
                return f"{name} (family {family}, model {model})" if family and model else name
        if platform.system() == "Darwin":
            import subprocess  # imported where it is needed

            answer = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
            return answer.stdout.strip() or platform.processor()
    except OSError:
        pass
    return platform.processor() or platform.machine()
