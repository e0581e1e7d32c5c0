import torch

from crisp.models import resnet20


def test_parameters_carry_torchvision_names():
    names = dict(resnet20().named_parameters())
    for name in ("conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer3.2.bn2.weight", "layer2.0.downsample.0.weight", "fc.bias"):
        assert name in names
    assert "layer1.0.downsample.0.weight" not in names
    assert names["layer2.0.downsample.0.weight"].shape == (32, 16, 1, 1)


def test_size_and_output():
    model = resnet20(num_classes=7).eval()
    assert sum(parameter.numel() for parameter in resnet20().parameters()) == 272_186
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
