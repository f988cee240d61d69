"""A second proof of a vjp: ``jax.vjp`` of the pure forward function, all entries of all gradients, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from funcnet import tree
from funcnet.check.rounding import agree
from funcnet.check.verdict import Claim, Property
from funcnet.layer import AnyLayer, run_forward
from funcnet.shapes import Array
from funcnet.tree import Tree

__all__ = ["prove_by_jax"]


def prove_by_jax(
    claim: Claim, layer: AnyLayer, params: Tree, x: Array, dy: Array, within: Mapping[str, float]
) -> Property:
    """The gradients of the layer's own vjp, traced by JAX, against those that JAX derives of its forward.

    Raises:
        ImportError: where JAX is not installed.
    """
    import jax

    with jax.enable_x64(True):
        to_jax: Any = jax.numpy.asarray
        jax_params, jax_x, jax_dy = tree.map(to_jax, (params, x, dy))
        key = jax.random.key(claim.key.low % 2**32)
        trained = tree.trained(jax_params)

        def output(trained: Tree, x: Any) -> Any:
            return run_forward(layer, tree.combine(trained, jax_params), x, key)[0]

        def by_hand(x: Any, dy: Any) -> Any:
            _, residuals = run_forward(layer, jax_params, x, key)
            return layer.pure_vjp(jax_params, residuals, dy)

        _, of_forward = jax.vjp(output, trained, jax_x)
        wanted, wanted_dx = of_forward(jax_dy)
        dparams, dx = jax.jit(by_hand)(jax_x, jax_dy)
    named = dict(tree.named_leaves(dparams, "dparams")) | {"dx": dx}
    expected = dict(tree.named_leaves(wanted, "dparams")) | {"dx": wanted_dx}
    return agree(
        claim,
        "jax.vjp of forward",
        "the vjp gives other gradients than jax.vjp of forward",
        got={path: np.asarray(array) for path, array in named.items()},
        wanted={path: np.asarray(array) for path, array in expected.items()},
        within={path: 8 * within[path] for path in named},
    )
