import numpy as np
import pytest
import torch
from tests.sw.small import small_net, striped_split
from torch import nn

from crisp.models import ModelError, logits, select_classes


def test_outputs_are_those_of_the_classes_in_their_order():
    model, images = small_net(), striped_split(6, 4, 12, seed=0).images
    whole = logits(model, images)
    part = logits(select_classes(model, (3, 1)), images)
    assert np.allclose(part, whole[:, [3, 1]], atol=1e-6)
    assert model.fc.out_features == 4


@pytest.mark.parametrize(("model", "classes"), [(small_net(), (0, 4)), (nn.Sequential(), (0, 1))])
def test_what_is_not_there(model, classes):
    with pytest.raises(ModelError, match="classes must be outputs of the network's last layer fc, not"):
        select_classes(model, classes)


def test_head_without_bias():
    model = small_net()
    model.fc = nn.Linear(32, 4, bias=False)
    assert select_classes(model, (0, 2)).fc.bias is None
    assert torch.equal(select_classes(model, (0, 2)).fc.weight, model.fc.weight[[0, 2]])
