"""Other libraries that say independently what is right. Without them the tests that ask them are skipped.

Where ``FUNCNET_ORACLES=1`` is set, as ``.ci/run`` does after it has installed them, a missing one is a failure.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest

__all__ = ["oracle"]


def oracle(name: str) -> ModuleType:
    """The module of this name; where it is not installed, the test is skipped, or fails under ``FUNCNET_ORACLES=1``."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise  # it is there, but broken
    reason = f"{name} is not here: pip install {name.partition('.')[0]}"
    if os.environ.get("FUNCNET_ORACLES") == "1":
        pytest.fail(f"{reason} (FUNCNET_ORACLES=1 asks for it)", pytrace=False)
    pytest.skip(reason)
