"""A fixed small sample of ``kills.py``."""

import random

import pytest
from endurance.kills import result


@pytest.mark.parametrize("kind", [pytest.param("lab", marks=pytest.mark.slow), "script"])
def test_a_run_that_was_killed_ends_as_one_that_was_not(kind: str) -> None:
    hits: list[str] = []
    killed = result(kind, hits, random.Random(1), 2)
    assert killed == result(kind, [])
    assert len(hits) >= 1
