import numpy as np
import pytest
import torch
from tests.sw.small import small_net
from torch import nn

from crisp.models import resnet20
from crisp.prune import PruneError
from crisp.prune.layers import mask_from_matrix, output_pixels, prunable_layers, weight_matrix


def test_first_and_last_stay_dense():
    names = list(prunable_layers(resnet20()))
    assert len(names) == 20
    assert "conv1" not in names
    assert "fc" not in names
    assert "layer2.0.downsample.0" in names
    assert list(prunable_layers(small_net(), keep_dense=("conv3",))) == ["conv2", "shortcut"]


def test_what_cannot_be_pruned():
    with pytest.raises(PruneError) as caught:
        prunable_layers(small_net(), keep_dense=("conv9",))
    assert str(caught.value) == "keep_dense must name layers of the network, which are conv1, conv2, conv3, shortcut, fc, not 'conv9'"
    with pytest.raises(PruneError) as caught:
        prunable_layers(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    assert str(caught.value) == (
        "the network must have a layer to prune besides those that stay dense, 0 (stays dense: the first layer, which sees the image), "
        "1 (stays dense: the last layer, whose rows are the classes); use a network with more layers"
    )
    with pytest.raises(PruneError, match="the network must take an image of shape"):
        prunable_layers(small_net(), image=torch.zeros(1, 3, 12, 12))


def test_what_cannot_be_pruned_stays_dense():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    assert list(prunable_layers(model)) == ["2"]
    spare = small_net()
    del spare.fc
    spare.spare, spare.fc = nn.Linear(2, 2), nn.Linear(32, 4)
    assert "spare" in prunable_layers(spare)
    assert "spare" not in prunable_layers(spare, image=torch.zeros(1, 1, 12, 12))


def test_pixels_that_a_weight_is_used_for():
    model = resnet20()
    pixels = output_pixels(model, prunable_layers(model), torch.zeros(1, 1, 28, 28))
    assert pixels["layer1.0.conv1"] == 784
    assert pixels["layer2.0.downsample.0"] == 196
    assert pixels["layer3.2.conv2"] == 49
    assert not model.layer1[0].conv1._forward_hooks


def test_layer_that_is_not_used():
    model = small_net()
    model.spare = nn.Linear(2, 2)
    with pytest.raises(PruneError, match="spare: a pruned layer must be used by the network, but is not; name it in keep_dense"):
        output_pixels(model, {"spare": model.spare}, torch.zeros(1, 1, 12, 12))


@pytest.mark.parametrize("shape", [(5, 6, 3, 3), (5, 2, 3, 3), (7, 10)])
def test_mask_goes_where_its_weight_is(shape):
    weight = torch.randn(shape)
    matrix = weight_matrix(weight, 4)
    mask = np.random.default_rng(0).random(matrix.shape) < 0.5
    assert np.array_equal(weight_matrix(weight * mask_from_matrix(mask, weight, 4), 4), matrix * mask)
