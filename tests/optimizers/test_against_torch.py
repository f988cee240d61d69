"""Muon against PyTorch's, where it is installed."""

import numpy as np
import pytest

from funcnet.optimizers import apply_updates, muon, sgd

torch = pytest.importorskip("torch")
if not hasattr(torch.optim, "Muon"):
    pytest.skip("this PyTorch has no Muon", allow_module_level=True)


@pytest.mark.parametrize("shape", [(5, 5), (12, 4), (4, 12), (1, 1)], ids=str)
def test_muon(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's weights are ours transposed. It iterates in bfloat16; here it is made to stay in float64."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    start = np.random.default_rng(0).standard_normal(shape)
    weight = torch.nn.Parameter(torch.tensor(start.T.copy()))
    theirs = torch.optim.Muon([weight], lr=0.1, weight_decay=0.2, momentum=0.8)
    optimizer, params = muon(0.1, 0.8, weight_decay=0.2, others=sgd(0.1)), (start,)
    state = optimizer.init(params)
    for step in range(6):
        g = np.cos(np.arange(start.size) + step).reshape(shape)
        updates, state = optimizer.update((g,), state, params, step)
        params = apply_updates(params, updates)
        weight.grad = torch.tensor(g.T.copy())
        theirs.step()
        np.testing.assert_allclose(params[0].T, weight.detach().numpy(), rtol=1e-10, atol=1e-12)
