"""Engines: how a step is run. All give the same numbers, but for rounding.

numpy()    kernels for NumPy arrays, in place where the arrays are unaliased, by NumPy's own BLAS (the default)
plain()    the pure functions as they are written: the reference
"""

from funcnet.engines.numpy.engine import NUMPY as _NUMPY
from funcnet.engines.running import copy_state as copy_state
from funcnet.engines.running import evaluate as evaluate
from funcnet.engines.running import make_predict as make_predict
from funcnet.engines.running import make_step as make_step
from funcnet.step import PLAIN as _PLAIN
from funcnet.step import Engine as Engine


def plain() -> Engine:
    """The engine that runs the pure functions as they are written."""
    return _PLAIN


def numpy() -> Engine:  # the package of this name is imported above, so a later import cannot hide this
    """The engine that runs kernels on NumPy arrays, and the pure functions where there is no kernel."""
    return _NUMPY
