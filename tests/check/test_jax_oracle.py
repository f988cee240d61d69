"""The second proof, by JAX: of every layer of the library, and that it catches what is wrong."""

from typing import Any

import attrs
import numpy as np
import pytest
from oracles import oracle

from funcnet.check import CheckError, check_layer
from funcnet.check.jax_oracle import prove_by_jax
from funcnet.check.registry import LAYERS, LayerEntry
from funcnet.check.verdict import Claim
from funcnet.layers.activations import tanh
from funcnet.random import make_key

pytestmark = pytest.mark.usefixtures("as_users_run")


@pytest.mark.parametrize("entry", LAYERS, ids=lambda entry: entry.name)
def test_every_layer_agrees_with_jax(entry: LayerEntry) -> None:
    oracle("jax")
    report = check_layer(
        entry.layer, entry.in_shape, key=make_key(0), mixes_examples=entry.mixes_examples, oracle="jax"
    )
    (proof,) = [held for held in report.properties if held.name == "jax.vjp of forward"]
    assert proof.compared >= 9


def test_a_wrong_vjp_is_caught() -> None:
    oracle("jax")

    def vjp(params: Any, residuals: Any, dy: Any, *, need_dx: bool = True) -> Any:
        dparams, dx = tanh().pure_vjp(params, residuals, dy)
        return dparams, dx * (1 + 1e-6)

    x = np.linspace(-1, 1, 6).reshape(2, 3)
    with pytest.raises(CheckError, match=r"other gradients than jax\.vjp of forward"):
        prove_by_jax(
            Claim("tanh", "two rows", make_key(0), ""), attrs.evolve(tanh(), vjp=vjp), (), x, np.ones_like(x),
            {"y": 1e-12, "dx": 1e-12},
        )  # fmt: skip


def test_another_oracle_is_refused() -> None:
    with pytest.raises(ValueError, match='the oracle of a check is "jax" or None, got'):
        check_layer(tanh(), (2,), key=make_key(0), oracle="torch")
