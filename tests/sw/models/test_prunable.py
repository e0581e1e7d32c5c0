import io

import pytest
import torch
from rich.console import Console
from tests.sw.small import small_mobile, small_net
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from crisp.models import ModelError, Verdict, build, examine_layers


class Odd(nn.Module):
    """One layer of every kind that there is to tell of; registered in another order than used."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 3)
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.plain = nn.Conv2d(8, 8, 1)
        self.twin_a, self.twin_b = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.twin_b.weight = self.twin_a.weight
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 8, 1)
        self.normed = weight_norm(nn.Conv2d(8, 8, 1))
        self.spare = nn.Linear(5, 5)
        self.kept = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.plain(self.plain(self.first(x)))
        x = self.kept(self.normed(self.up(self.grouped(self.twin_b(self.twin_a(x))))))
        return self.last(x.mean((2, 3)))


VERDICTS = {
    "last": Verdict.LAST,
    "first": Verdict.FIRST,
    "plain": Verdict.PRUNED,
    "twin_a": Verdict.SHARED,
    "twin_b": Verdict.SHARED,
    "grouped": Verdict.GROUPED,
    "up": Verdict.OTHER,
    "normed": Verdict.DERIVED,
    "spare": Verdict.UNUSED,
    "kept": Verdict.KEPT,
}


def test_every_verdict():
    model = Odd().train()
    report = examine_layers(model, torch.zeros(1, 1, 6, 6), keep_dense=("kept",))
    assert {layer.name: layer.verdict for layer in report.layers} == VERDICTS
    assert report.prunable == ("plain",)
    layers = {layer.name: layer for layer in report.layers}
    assert (layers["plain"].pixels, layers["plain"].shape, layers["plain"].weights) == (72, (8, 8, 1, 1), 64)
    assert (layers["spare"].pixels, layers["last"].pixels) == (0, 1)
    assert report.prunable_share == pytest.approx(64 / sum(layer.weights for layer in report.layers))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_without_an_image_modules_order_counts():
    report = examine_layers(small_net())
    assert [layer.verdict for layer in report.layers] == [Verdict.FIRST, *[Verdict.PRUNED] * 3, Verdict.LAST]
    assert [layer.pixels for layer in report.layers] == [None] * 5


@pytest.mark.parametrize(
    ("name", "pruned", "others"),
    [
        ("resnet20", 20, 2),
        ("resnet56", 56, 2),
        ("resnet18", 19, 2),
        ("resnet50", 52, 2),
        ("vgg16", 14, 2),
        ("mobilenetv2", 34, 19),
        ("efficientnet-lite0", 32, 18),
    ],
)
def test_layers_of_known_networks(name, pruned, others):
    model = build(name, 4, 32, width=1 if name == "efficientnet-lite0" else 0.125)
    channels = next(model.parameters()).shape[1]
    report = examine_layers(model, torch.zeros(1, channels, 32, 32))
    assert (len(report.prunable), len(report.layers) - len(report.prunable)) == (pruned, others)
    assert report.prunable == examine_layers(model).prunable


def test_table_says_why():
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(examine_layers(small_mobile(), torch.zeros(1, 3, 16, 16)).table())
    text = console.export_text()
    for verdict in (Verdict.PRUNED, Verdict.FIRST, Verdict.LAST, Verdict.GROUPED):
        assert verdict.value in text
    assert "8 x 1 x 3 x 3" in text


def test_layer_that_is_not_there_and_image_that_does_not_fit():
    with pytest.raises(ModelError) as caught:
        examine_layers(small_net(), keep_dense=("conv9",))
    assert str(caught.value) == "keep_dense must name layers of the network, which are conv1, conv2, conv3, shortcut, fc, not 'conv9'"
    with pytest.raises(ModelError, match=r"the network must take an image of shape \[1, 3, 12, 12\], but: .*; name the size and channels"):
        examine_layers(small_net(), torch.zeros(1, 3, 12, 12))
