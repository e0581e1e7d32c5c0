import pytest
import torch

from crisp.models import ARCHITECTURES, ModelError, build, mobilenet_v2
from crisp.models.mobilenet import round_channels

# Parameters that torchvision's networks, and the package of EfficientNet-Lite0, have.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "vgg16-bn": 138_365_992,
    "mobilenetv2": 3_504_872,
    "efficientnet-lite0": 4_652_008,
}

# Some of torchvision's names, with shapes: the first and the last layer, and those where the networks differ from their plain form.
NAMES = {
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.1.bn2.bias": (64,),
        "layer2.0.downsample.1.running_var": (128,),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "fc.weight": (1000, 2048),
    },
    "vgg16": {"features.0.weight": (64, 3, 3, 3), "features.28.bias": (512,), "classifier.0.weight": (4096, 25088)},
    "vgg16-bn": {"features.1.running_mean": (64,), "features.40.weight": (512, 512, 3, 3), "classifier.6.weight": (1000, 4096)},
    "mobilenetv2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.17.conv.1.0.weight": (960, 1, 3, 3),
        "features.17.conv.3.bias": (320,),
        "features.18.1.running_var": (1280,),
        "classifier.1.weight": (1000, 1280),
    },
    "efficientnet-lite0": {
        "_conv_stem.weight": (32, 3, 3, 3),
        "_blocks.0._project_conv.weight": (16, 32, 1, 1),
        "_blocks.15._depthwise_conv.weight": (1152, 1, 3, 3),
        "_blocks.14._depthwise_conv.weight": (1152, 1, 5, 5),
        "_conv_head.weight": (1280, 320, 1, 1),
        "_fc.bias": (1000,),
    },
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_original(name):
    with torch.device("meta"):
        model = ARCHITECTURES[name](1000, 224)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert {key: shapes[key] for key in NAMES[name]} == NAMES[name]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("size", [32, 224])
def test_images_become_logits(name, size):
    with torch.device("meta"):
        assert ARCHITECTURES[name](7, size)(torch.zeros(2, 3, size, size)).shape == (2, 7)


#: Pixels a side that the network's last convolution sees, by the size of its images.
LAST_SIDES = {"resnet50": {224: 7, 32: 4}, "mobilenetv2": {224: 7, 32: 4}, "efficientnet-lite0": {224: 7, 32: 1}, "vgg16": {224: 14, 32: 2}}


def last_side(name, size):
    """Return the pixels a side that the last convolution of a network puts out."""
    sides = []
    with torch.device("meta"):
        model = ARCHITECTURES[name](10, size)
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[3]))
        model(torch.zeros(2, 3, size, size))
    return sides[-1]


@pytest.mark.parametrize("name", LAST_SIDES)
def test_small_images_are_not_halved_at_once(name):
    assert {size: last_side(name, size) for size in LAST_SIDES[name]} == LAST_SIDES[name]


def test_stride_of_a_bottleneck_is_in_its_3x3_convolution():
    with torch.device("meta"):
        block = ARCHITECTURES["resnet50"](10, 224).layer2[0]
    assert [conv.stride for conv in (block.conv1, block.conv2, block.conv3)] == [(1, 1), (2, 2), (1, 1)]


def test_seed_decides_and_disturbs_nothing():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build("mobilenetv2", 10, 32, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert not first.training
    weights = [model.features[0][0].weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_width_changes_all_channels():
    with torch.device("meta"):
        model = mobilenet_v2(10, 224, width=0.5)
    assert model.features[0][0].out_channels == 16
    assert model.classifier[1].in_features == 1280
    assert [round_channels(channels) for channels in (3.2, 12, 16.8, 11)] == [8, 16, 16, 16]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg", 10, 32), "architecture must be one of resnet20, .*, not 'vgg'"),
        (("vgg16", 0, 32), "num_classes must be at least 1, not 0"),
        (("vgg16", 10, 0), "input_size must be at least 1, not 0"),
        (("efficientnet-lite0", 10, 48), "input_size must be a multiple of 32, not 48"),
    ],
)
def test_what_cannot_be_built(arguments, message):
    with pytest.raises(ModelError, match=message):
        build(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 2}, "in_channels must be 1, grey, or 3, coloured, not 2"),
        ({"width": 0.05}, "width must be from 0.0625 to 4.0, not 0.05"),
        ({"width": float("nan")}, "width must be from 0.0625 to 4.0, not nan"),
        ({"width": 0.5}, "width of efficientnet-lite0 must be 1, not 0.5"),
    ],
)
def test_channels_and_widths_that_cannot_be(options, message):
    with pytest.raises(ModelError) as caught:
        build("efficientnet-lite0", 10, 32, **options)
    assert str(caught.value) == message


#: Weights of the networks that the experiments prune, grey images of 28 x 28 pixels, ten classes.
EXPERIMENTS = {("vgg16-bn", 0.25): 2_114_554, ("vgg16", 0.25): 2_112_442, ("resnet18", 0.5): 2_797_034, ("mobilenetv2", 0.5): 700_202}


@pytest.mark.parametrize(("name", "width"), EXPERIMENTS)
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 224])
def test_narrow_networks_take_grey_and_coloured_images(name, width, size, in_channels):
    with torch.device("meta"):
        model = ARCHITECTURES[name](10, size, in_channels, width)
        assert model(torch.zeros(2, in_channels, size, size)).shape == (2, 10)
    if (size, in_channels) == (28, 1):
        assert sum(parameter.numel() for parameter in model.parameters()) == EXPERIMENTS[name, width]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_grey_images_change_the_first_layer_only(name):
    with torch.device("meta"):
        grey, coloured = (ARCHITECTURES[name](10, 32, channels).state_dict() for channels in (1, 3))
    assert grey.keys() == coloured.keys()
    other = [key for key in grey if grey[key].shape != coloured[key].shape]
    assert other == [next(iter(grey))]
