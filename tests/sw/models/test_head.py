import numpy as np
import pytest
import torch
from tests.sw.small import small_net, striped_split
from torch import nn

from crisp.models import Head, ModelError, Verdict, adapt_head, build, examine_layers, find_head, logits, select_classes


def test_outputs_are_those_of_the_classes_in_their_order():
    model, images = small_net(), striped_split(6, 4, 12, seed=0).images
    whole = logits(model, images)
    part = logits(select_classes(model, (3, 1)), images)
    assert np.allclose(part, whole[:, [3, 1]], atol=1e-6)
    assert model.fc.out_features == 4


@pytest.mark.parametrize("classes", [(0, 4), (-1, 1), ()])
def test_what_is_not_there(classes):
    with pytest.raises(ModelError, match="classes must be outputs of the network's last linear layer, not"):
        select_classes(small_net(), classes)


def test_network_without_a_head():
    with pytest.raises(ModelError) as caught:
        select_classes(nn.Sequential(nn.ReLU()), (0, 1))
    assert str(caught.value) == "the network must end in a linear layer, but has none; end it in torch.nn.Linear"


def test_network_that_is_a_head():
    assert select_classes(nn.Linear(3, 4), (2, 0)).out_features == 2


def test_full_head_stays_and_reduced_one_is_cut():
    model, images = small_net(), striped_split(6, 4, 12, seed=0).images
    full, reduced = (adapt_head(model, (2,), head) for head in (Head.FULL, Head.REDUCED))
    assert full is not model
    assert np.array_equal(logits(full, images), logits(model, images))
    assert (find_head(full)[0], find_head(reduced)[1].out_features) == ("fc", 1)
    with pytest.raises(ModelError):
        adapt_head(model, (4,), Head.FULL)


def test_head_without_bias():
    model = small_net()
    model.fc = nn.Linear(32, 4, bias=False)
    assert select_classes(model, (0, 2)).fc.bias is None
    assert torch.equal(select_classes(model, (0, 2)).fc.weight, model.fc.weight[[0, 2]])


class HeadFirst(nn.Module):
    """Defines first what computes last, and behind it a layer that computes nothing."""

    def __init__(self, outputs=5, decides=False):
        super().__init__()
        self.head, self.body, self.idle = nn.Linear(6, outputs), nn.Linear(4, 6), nn.Linear(6, 3)
        self.decides = decides

    def forward(self, x, mask=None):
        x = self.body(x if mask is None else x * mask)
        if self.training:
            return self.idle(self.head(x))
        return -self.head(x) if self.decides and x.sum() > 0 else self.head(x)


class OwnLinear(nn.Linear):
    """A layer of the user's, which computes as torch's does."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


class OwnHead(HeadFirst):
    """A head of the user's."""

    def __init__(self):
        super().__init__()
        self.head = OwnLinear(6, 5)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (HeadFirst(), "head"),
        (HeadFirst().train(), "head"),
        (OwnHead(), "head"),
        (HeadFirst(decides=True), "idle"),  # torch.fx cannot follow it: the one that is defined last
    ],
)
def test_head_is_what_computes_last(model, name):
    training = model.training
    assert find_head(model)[0] == name
    assert model.training == training


def test_head_that_is_defined_first_is_cut():
    model, x = HeadFirst().eval(), torch.randn(2, 4)
    reduced = adapt_head(model, (4, 1), Head.REDUCED)
    with torch.no_grad():
        assert torch.allclose(reduced(x), model(x)[:, [4, 1]], atol=1e-6)
    assert examine_layers(model, x).layers[0].verdict is Verdict.LAST


def test_head_within_another_module():
    model = build("mobilenetv2", num_classes=10, input_size=32)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(select_classes(model, (7, 2))(images), model(images)[:, [7, 2]], atol=1e-6)
