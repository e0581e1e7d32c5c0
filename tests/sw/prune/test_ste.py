import pytest
import torch
from torch import nn

from crisp.prune.ste import dense_weight, hide, reveal, seen_weight, straight_through


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(4, 3, bias=False)


MASK = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).expand(3, 4).contiguous()


def test_gradient_passes_the_mask_and_hidden_weights_decay(layer):
    weight, x = layer.weight.detach().clone(), torch.randn(5, 4)
    hide(layer, MASK, decay=0.1)
    assert torch.equal(layer(x), x @ (weight * MASK).T)
    (layer(x) ** 2).sum().backward()
    seen = (weight * MASK).requires_grad_()
    ((x @ seen.T) ** 2).sum().backward()
    assert torch.allclose(dense_weight(layer).grad, seen.grad + 0.1 * (1 - MASK) * weight)


def test_masks_are_exchanged_and_hidden_weights_come_back(layer):
    weight = layer.weight.detach().clone()
    hide(layer, MASK, decay=0.1)
    assert torch.equal(seen_weight(layer), weight * MASK)
    hide(layer, 1 - MASK, decay=0.2)
    assert torch.equal(seen_weight(layer), weight * (1 - MASK))
    assert straight_through(layer).decay == 0.2
    hide(layer, torch.ones_like(MASK), decay=0.0)
    assert torch.equal(seen_weight(layer), weight)


def test_revealed_weights_are_plain_with_zeros(layer):
    weight = layer.weight.detach().clone()
    hide(layer, MASK, decay=0.1)
    reveal(layer)
    reveal(layer)
    assert list(dict(layer.named_parameters())) == ["weight"]
    assert torch.equal(layer.weight, weight * MASK)
    assert torch.equal(dense_weight(layer), layer.weight)
