import math

import numpy as np
import pytest

from funcnet.layers.initializers import glorot, he
from funcnet.random import make_key


def test_he_has_the_variance_of_its_paper() -> None:
    w = he(make_key(0), (500, 400), 500, 400)
    assert w.std() == pytest.approx(math.sqrt(2 / 500), rel=0.01)
    assert abs(w.mean()) < 1e-3
    assert w.dtype == np.float32


def test_glorot_has_the_bounds_of_its_paper() -> None:
    bound = math.sqrt(6 / 900)
    w = glorot(make_key(0), (500, 400), 500, 400)
    assert np.abs(w).max() <= bound
    assert np.abs(w).max() > 0.999 * bound
    assert w.var() == pytest.approx(2 / 900, rel=0.01)
    assert w.dtype == np.float32


@pytest.mark.parametrize("init", [he, glorot])
def test_no_inputs_are_no_division_by_zero(init: object) -> None:
    assert init(make_key(0), (0, 3), 0, 3).shape == (0, 3)
