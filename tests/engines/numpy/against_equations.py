"""A kernel compared with the pure functions of its layer, with arguments that are given up and with others."""

from typing import Any

import numpy as np

from funcnet import tree
from funcnet.engines.numpy.planner import plan
from funcnet.layer import AnyLayer, run_forward, run_predict
from funcnet.shapes import Array


def differences(layer: AnyLayer, params: Any, x: Array, dy: Array) -> dict[str, float]:
    """The largest difference of each result from the equation's, over the largest entry of that."""
    kernel, found = plan(layer), dict[str, float]()
    assert kernel.name
    y, residuals = run_forward(layer, params, x)
    dparams, dx = layer.pure_vjp(params, residuals, dy)
    wanted = {"y": y, "dx": dx, "prediction": run_predict(layer, params, x)}
    wanted |= dict(tree.named_leaves(tree.map(lambda p, d: 0.5 * p + d, tree.trained(params), dparams)))
    for owned in (False, True):
        accumulator = tree.map(np.array, tree.trained(params))
        before = x.copy()
        with tree.writable(tree.leaves(accumulator)):
            got = {"prediction": kernel.predict(params, x.copy() if owned else x, owned)}
            got["y"], kept = kernel.forward(params, x.copy() if owned else x, owned, None)
            got["dx"] = kernel.backward(params, kept, dy.copy() if owned else dy, owned, accumulator, 0.5, True)
            none = kernel.backward(params, kept, dy, False, None, 0.0, False)
        assert none is None
        np.testing.assert_array_equal(x, before)
        got |= dict(tree.named_leaves(accumulator))
        assert got.keys() == wanted.keys()
        for name, array in got.items():
            assert array.dtype == x.dtype, name
            assert array.shape == wanted[name].shape, name
            off = np.abs(array - wanted[name]).max(initial=0) / np.abs(wanted[name]).max(initial=1e-9)
            found[name] = max(found.get(name, 0.0), float(off))
    return found
