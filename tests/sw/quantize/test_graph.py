import pytest
import torch
from tests.sw.small import small_mobile, small_net
from torch import nn
from torch.nn import functional

from crisp.golden.convolution import Window
from crisp.models import resnet20
from crisp.quantize import Clamp, QuantizeError, trace
from crisp.quantize.activations import NO_CLAMP, RELU, RELU6


def image(*shape):
    return torch.zeros(1, *shape)


def computes(graph, model, x):
    with torch.no_grad():
        return torch.allclose(graph.run(x).flatten(1), model(x).flatten(1), atol=1e-4)


@pytest.mark.parametrize("model", [small_net(), resnet20().eval()], ids=["small", "resnet20"])
def test_graph_computes_what_the_model_does(model):
    x = torch.randn(3, 1, 12, 12)
    assert computes(trace(model, x[:1]), model, x)


def test_nodes_carry_the_names_of_their_modules():
    nodes = trace(resnet20().eval(), image(1, 28, 28)).nodes
    assert [node.name for node in nodes[:4]] == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.add"]
    assert [node.name for node in nodes[-2:]] == ["avgpool", "fc"]
    assert [node.inputs for node in nodes if node.name == "layer2.0.add"] == [("layer2.0.conv2", "layer2.0.downsample.0")]
    assert [node.name for node in nodes if node.clamp == RELU][:3] == ["conv1", "layer1.0.conv1", "layer1.0.add"]
    assert len({node.name for node in nodes}) == len(nodes)


class Ways(nn.Module):
    """The same operations as functions, methods and operators, with layers that do nothing."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, (1, 3), padding=(0, 1), bias=False)
        self.norm, self.drop, self.same = nn.BatchNorm2d(4, affine=False), nn.Dropout(), nn.Identity()
        self.pool, self.flat, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(4, 2)

    def forward(self, x):
        x = functional.relu(self.a(x))
        y = torch.relu(self.norm(self.b(self.same(x))))
        z = torch.add(x, y).relu()
        z += y
        return self.drop(self.fc(self.flat(self.pool(z))))


def test_operations_in_other_words():
    model, x = Ways().eval(), torch.randn(2, 1, 6, 6)
    graph = trace(model, x[:1])
    assert computes(graph, model, x)
    assert [type(node).__name__ for node in graph.nodes] == [
        "FloatProduct",
        "FloatProduct",
        "FloatAdd",
        "FloatAdd",
        "FloatPool",
        "FloatProduct",
    ]


def test_all_kinds_of_operations():
    model, x = small_mobile(), 3 * torch.randn(2, 3, 16, 16)
    graph = trace(model, x[:1])
    assert computes(graph, model, x)
    nodes = {node.name: node for node in graph.nodes}
    assert list(nodes) == [
        *("stem.1", "depthwise.0", "add", "grouped.0", "grouped.1", "grouped.2"),
        *("dilated.0", "dilated.1", "dilated.2", "pool", "classifier.0", "classifier.3", "classifier.4"),
    ]
    stem = nodes["stem.1"].convolution
    assert (stem.padding, stem.padding_end) == ((0, 0), (1, 1))
    assert nodes["stem.1"].clamp == RELU6
    assert nodes["depthwise.0"].convolution.groups == 8
    assert nodes["depthwise.0"].clamp == Clamp(-0.5, 1.5)
    assert nodes["grouped.0"].convolution.padding == (0, 2)
    assert nodes["grouped.1"].function == "silu"
    assert nodes["dilated.0"].convolution.dilation == (2, 2)
    assert nodes["dilated.2"].clamp == RELU
    assert nodes["pool"].window == Window(kernel=(2, 2), stride=(2, 2))
    assert nodes["classifier.0"].convolution.kernel == (4, 4)
    assert nodes["classifier.3"].clamp == NO_CLAMP


def test_pooling_to_the_size_that_is_there_already_does_nothing():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32, 3)).eval()
    assert [node.name for node in trace(model, image(1, 4, 4)).nodes] == ["0", "3"]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (NO_CLAMP, RELU6, RELU6),
        (RELU, RELU6, RELU6),
        (RELU6, RELU, RELU6),
        (Clamp(-1, 1), RELU, Clamp(0, 1)),
        (Clamp(2, 3), Clamp(-1, 1), Clamp(1, 1)),
        (Clamp(-3, -2), RELU, Clamp(0, 0)),
    ],
)
def test_limits_after_limits(first, second, both):
    assert first.then(second) == both
    x = torch.arange(-8, 9) / 2
    assert torch.equal(both(x), second(first(x)))


class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect")
        self.ceil, self.mean = nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.norm, self.act, self.pool = nn.BatchNorm2d(4), nn.Softplus(), nn.AdaptiveAvgPool2d(4)
        self.border = nn.ZeroPad2d(1)

    def forward(self, x):
        x = self.a(x)
        y = self.norm(self.act(self.ceil(x)))
        z = functional.relu(self.border(x))
        x = self.mean(x) * x + 1
        return torch.flatten(self.pool(y), 2) + torch.flatten(self.pool(z), 2) + x.mean()


def test_all_that_is_not_supported_is_named_at_once():
    with pytest.raises(QuantizeError) as caught:
        trace(Wrong().eval(), image(1, 11, 11))
    lines = str(caught.value).splitlines()
    assert lines[0] == "model must have only operations that run on the array; these do not:"
    text = "\n".join(lines[1:])
    for part in (
        "a: Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), padding_mode=reflect) must be padded with zeros",
        "ceil: MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=True) must round sizes down and return no indices",
        "mean: AvgPool2d(kernel_size=3, stride=1, padding=1) must round sizes down and divide all windows by their size, padding included",
        "act: act = Softplus(beta=1.0, threshold=20.0) is not supported",
        "norm: a batch norm must have statistics and follow a convolution that nothing else uses",
        "relu: zero padding must be followed by a convolution",
        "pool: pooling to 4 x 4 pixels must divide the image evenly, not 6 x 6",
        "pool_1: pooling to 4 x 4 pixels must divide the image evenly, not 13 x 13",
        "flatten: flatten must leave [N, features]",
        "mul: mul is not supported",
        "add: a sum must have two tensors and no factor",
        "mean_1: mean is not supported",
    ):
        assert part in text


class Shared(nn.Module):
    """ReLU of a tensor that something else uses as well must not be fused, by whatever name that is used."""

    def __init__(self, alias):
        super().__init__()
        self.a, self.relu, self.same = nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Identity()
        self.alias = alias

    def forward(self, x):
        x = self.a(x)
        return self.relu(self.same(x) if self.alias else x) + x


@pytest.mark.parametrize("alias", [False, True])
def test_limits_of_a_shared_tensor_become_a_table(alias):
    model, x = Shared(alias), torch.randn(2, 1, 4, 4)
    graph = trace(model, x[:1])
    assert computes(graph, model, x)
    assert [(node.name, node.clamp) for node in graph.nodes] == [("a", NO_CLAMP), ("relu", RELU), ("add", NO_CLAMP)]


def test_limits_of_the_input_become_a_table():
    assert [node.name for node in trace(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1)), image(1, 2, 2)).nodes] == ["0", "1"]


class Broadcast(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.pool = nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.a(x)
        return x + self.pool(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.BatchNorm2d(1)), "a batch norm must have statistics and follow a convolution"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.BatchNorm2d(1)), "a batch norm must have statistics and follow a convolution"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(3)), "pooling to 3 x 3 pixels must divide the image evenly, not 4 x 4"),
        (nn.Sequential(nn.Identity()), "model must have at least one convolution or linear layer, not none"),
        (nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(1, 1, 1)), "zero padding must not be negative"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(4, 2)), "must take all of one image, flattened"),
        (Broadcast(), "a sum must have two tensors of one shape"),
    ],
)
def test_what_cannot_be_merged(model, message):
    with pytest.raises(QuantizeError, match=message):
        trace(model.eval(), image(1, 4, 4))


class Untraceable(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_model_that_decides_by_values():
    with pytest.raises(QuantizeError, match=r"model must be traceable by torch\.fx, but is not"):
        trace(Untraceable(), image(1, 4, 4))
