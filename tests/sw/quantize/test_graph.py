import pytest
import torch
from tests.sw.small import small_net
from torch import nn
from torch.nn import functional

from crisp.models import resnet20
from crisp.quantize import QuantizeError, trace


@pytest.mark.parametrize("model", [small_net(), resnet20().eval()], ids=["small", "resnet20"])
def test_graph_computes_what_the_model_does(model):
    x = torch.randn(3, 1, 12, 12)
    with torch.no_grad():
        assert torch.allclose(trace(model).run(x)[:, :, 0, 0], model(x), atol=1e-4)


def test_nodes_carry_the_names_of_their_modules():
    nodes = trace(resnet20().eval()).nodes
    assert [node.name for node in nodes[:4]] == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.add"]
    assert [node.name for node in nodes[-2:]] == ["avgpool", "fc"]
    assert [node.inputs for node in nodes if node.name == "layer2.0.add"] == [("layer2.0.conv2", "layer2.0.downsample.0")]
    assert [node.name for node in nodes if getattr(node, "relu", False)][:3] == ["conv1", "layer1.0.conv1", "layer1.0.add"]
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
    graph = trace(model)
    with torch.no_grad():
        assert torch.allclose(graph.run(x)[:, :, 0, 0], model(x), atol=1e-5)
    assert [type(node).__name__ for node in graph.nodes] == [
        "FloatProduct",
        "FloatProduct",
        "FloatAdd",
        "FloatAdd",
        "FloatPool",
        "FloatProduct",
    ]


class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, padding="same")
        self.norm, self.act, self.pool = nn.BatchNorm2d(4), nn.Sigmoid(), nn.MaxPool2d(2)

    def forward(self, x):
        x = self.c(self.b(self.a(x)))
        y = self.norm(self.pool(self.act(x)))
        return torch.relu(torch.relu(y)) * x + 1


def test_all_that_is_not_supported_is_named_at_once():
    with pytest.raises(QuantizeError) as caught:
        trace(Wrong())
    lines = str(caught.value).splitlines()
    assert lines[0] == "model must have only operations that run on the array; these do not:"
    text = "\n".join(lines[1:])
    for part in ("a: Conv2d", "b: Conv2d", "c: Conv2d", "act: act = Sigmoid() is not supported", "mul is not supported"):
        assert part in text
    assert text.count("must have no groups, no dilation, and numbers of zeros for padding") == 3


class Shared(nn.Module):
    """ReLU of a tensor that something else uses as well must not be fused."""

    def __init__(self):
        super().__init__()
        self.a, self.relu = nn.Conv2d(1, 2, 1), nn.ReLU()

    def forward(self, x):
        x = self.a(x)
        return self.relu(x) + x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Shared(), "relu: a ReLU must follow a product or a sum that nothing else uses"),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1)), "a ReLU must follow a product or a sum"),
        (nn.Sequential(nn.BatchNorm2d(1)), "a batch norm must have statistics and follow a convolution"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(2)), "must pool to one pixel"),
        (nn.Sequential(nn.Identity()), "model must have at least one convolution or linear layer, not none"),
    ],
)
def test_what_cannot_be_merged(model, message):
    with pytest.raises(QuantizeError, match=message):
        trace(model)


class Untraceable(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_model_that_decides_by_values():
    with pytest.raises(QuantizeError, match=r"model must be traceable by torch\.fx, but is not"):
        trace(Untraceable())
