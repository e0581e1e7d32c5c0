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


class Behind(nn.Module):
    """A convolution, and behind it what a test says."""

    def __init__(self, end, channels=4, features=4, **modules):
        super().__init__()
        self.conv, self.end = nn.Conv2d(1, channels, 3, padding=1), end
        self.fc = nn.Linear(features, 3)
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.end(self, self.conv(x))


def tutorial(net, x):
    """As in PyTorch's tutorials."""
    x = functional.max_pool2d(functional.relu(x), 2)
    x = functional.avg_pool2d(functional.relu6(net.other(x)), kernel_size=3, stride=1, padding=1)
    x = x.view(x.size(0), -1)
    return functional.log_softmax(net.fc(functional.dropout(x, training=net.training)), dim=1)


@pytest.mark.parametrize(
    ("end", "features", "kinds"),
    [
        (tutorial, 36, "FloatProduct FloatMaxPool FloatProduct FloatAveragePool FloatProduct"),
        (lambda net, x: net.fc(x.mean([2, 3])), 4, "FloatProduct FloatPool FloatProduct"),
        (lambda net, x: net.fc(x.mean((-1, -2))), 4, "FloatProduct FloatPool FloatProduct"),
        (lambda net, x: net.fc(torch.mean(x, dim=(2, 3), keepdim=True).flatten(1)), 4, "FloatProduct FloatPool FloatProduct"),
        (lambda net, x: net.fc(functional.avg_pool2d(x, x.size()[2:]).view(-1, 4)), 4, "FloatProduct FloatAveragePool FloatProduct"),
        (lambda net, x: net.fc(x.contiguous().reshape(x.shape[0], -1)), 144, "FloatProduct FloatProduct"),
        (lambda net, x: net.fc(torch.reshape(torch.relu(x), (x.size(0), 144))), 144, "FloatProduct FloatProduct"),
        (lambda net, x: net.fc(functional.max_pool2d(x, (2, 3), ceil_mode=False).flatten(1)), 24, "FloatProduct FloatMaxPool FloatProduct"),
        (lambda net, x: torch.add(input=x, other=net.other(x)), 4, "FloatProduct FloatProduct FloatAdd"),
        (lambda net, x: net.fc(x.flatten(1)).softmax(-1), 144, "FloatProduct FloatProduct"),
        (lambda net, x: net.soft(net.fc(x.flatten(1))), 144, "FloatProduct FloatProduct"),
        (lambda net, x: functional.softmax(x, dim=1), 4, "FloatProduct"),
    ],
)
def test_what_networks_of_tutorials_are_made_of(end, features, kinds):
    torch.manual_seed(0)
    model, x = Behind(end, features=features, other=nn.Conv2d(4, 4, 1), soft=nn.LogSoftmax(dim=1)).eval(), torch.randn(2, 1, 6, 6)
    graph = trace(model, x[:1])
    assert " ".join(type(node).__name__ for node in graph.nodes) == kinds
    with torch.no_grad():
        wanted, found = model(x).flatten(1), graph.run(x)
        assert any(
            torch.allclose(end(found).flatten(1), wanted, atol=1e-4)
            for end in (torch.clone, lambda y: y.softmax(1), lambda y: y.log_softmax(1))
        )
        assert torch.equal(found.argmax(1).flatten(1), model(x).argmax(1).reshape(2, -1))


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, x, mask=None, twice=False):
        x = self.conv(x if mask is None else x * mask)
        return x + x if twice else x


def test_arguments_with_a_default_keep_it():
    assert [node.name for node in trace(Optional(), image(1, 4, 4)).nodes] == ["conv"]


def test_model_is_left_as_it_is():
    model = small_net()
    model.train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace(model, torch.randn(1, 1, 12, 12))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in (model, model.bn1, model.bn2)] == [True, False, True]


def changed_in_place(net, x):
    """The sum takes what the ReLU has left of x, not x."""
    y = net.other(net.relu(x))
    return x + y


def test_model_whose_graph_would_compute_something_else():
    torch.manual_seed(0)
    model = Behind(changed_in_place, other=nn.Conv2d(4, 4, 1), relu=nn.ReLU(inplace=True))
    for picture in (torch.randn(1, 1, 6, 6), image(1, 6, 6)):  # with zeros too, which a ReLU does not change
        with pytest.raises(
            QuantizeError, match=r"the graph must compute what the model does, but differs by .* make it a new one: nn\.ReLU\(\)"
        ):
            trace(model, picture)
    model.relu.inplace = False
    assert computes(trace(model, image(1, 6, 6)), model, torch.randn(2, 1, 6, 6))


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
        "flatten: flatten must leave one vector an image, [N, features]",
        "mul: mul is not supported",
        "add: a sum must have two tensors and no factor",
        "mean_1: a mean must be one of all pixels, x.mean((2, 3))",
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
        (Behind(lambda net, x: x.mean((1, 2))), r"mean: a mean must be one of all pixels, x\.mean\(\(2, 3\)\)"),
        (Behind(lambda net, x: functional.dropout(x)), "dropout: dropout must be off in evaluation; give it training=self.training"),
        (Behind(lambda net, x: functional.relu(x.softmax(1))), "softmax: softmax must be over the channels, dim=1, and come last"),
        (Behind(lambda net, x: x.log_softmax(2)), "log_softmax: softmax must be over the channels, dim=1, and come last"),
        (Behind(lambda net, x: x.view(-1, 8)), r"view: view must leave one vector an image, \[N, features\]"),
        (Behind(lambda net, x: x.view(1, -1)), r"several images at once, but does not take 2: its output has shape \[1, 128\]; leave the"),
        (Behind(lambda net, x: net.fc(x.view(1, -1)), features=64), "several images at once, but does not take 2: mat1 and mat2 shapes"),
        (Behind(lambda net, x: x + x.size(2)), "add: a sum must have two tensors and no factor"),
        (Behind(lambda net, x: [x]), "output: a model must return one tensor"),
        (Behind(lambda net, x: {"logits": x}), "output: a model must return one tensor"),
        (nn.Bilinear(1, 1, 1), "model must take one image, not input1, input2; give the others a default value"),
    ],
)
def test_what_cannot_be_merged(model, message):
    with pytest.raises(QuantizeError, match=message):
        trace(model.eval(), image(1, 4, 4))


class Untraceable(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.zeros(1, 1, 4, 4).double(), "image must be float32 [1, C, H, W], not float64 [1, 1, 4, 4]; convert it"),
        (torch.zeros(2, 1, 4, 4), "image must be float32 [1, C, H, W], not float32 [2, 1, 4, 4]; convert it"),
        (torch.full((1, 1, 4, 4), torch.nan), "image must have finite values, not nan; look at where it comes from"),
        (
            torch.zeros(1, 3, 8, 4),
            "model must run on images of 3 x 8 x 4 (channels, height, width), but does not: Given groups=1, weight of size [4, 1, 3, 3], "
            "expected input[1, 3, 8, 4] to have 1 channels, but got 3 channels instead; "
            "give images of the size and channels that it is for",
        ),
    ],
)
def test_what_is_no_image_for_the_model(picture, message):
    with pytest.raises(QuantizeError) as caught:
        trace(Behind(lambda net, x: x), picture)
    assert str(caught.value) == message


def test_model_that_decides_by_values():
    with pytest.raises(
        QuantizeError, match=r"model must be traceable by torch\.fx, but is not: symbolically traced .*; take out of forward what asks for"
    ):
        trace(Untraceable(), image(1, 4, 4))
