import importlib.util

import pytest
import torch
from tests.sw.small import ROOT, striped_split

from crisp.arch import Config, check, unpack
from crisp.data import Dataset
from crisp.models import resnet20, save_checkpoint
from crisp.prune import PruneOptions


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("prune_quantize_compile", ROOT / "examples/prune_quantize_compile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_example_goes_all_the_way(example, tmp_path, capsys):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "net.safetensors", resnet20(num_classes=4), {"architecture": "resnet20", "num_classes": "4"})
    data = Dataset("stripes", "made", ("a", "b", "c", "d"), striped_split(120, 4, 28, 0), striped_split(24, 4, 28, 1))
    options = PruneOptions(iterations=2, iteration_images=16, final_images=32, saliency_images=16, batch=16)
    network = example.run(data, tmp_path / "net.safetensors", [0, 2, 3], options, Config())
    printed = capsys.readouterr().out
    assert "stripes: a, c, d; resnet20" in printed
    assert "dense   float" in printed
    assert "pruned  float" in printed
    for product in network.products:
        packed = product.layer.packed
        check(unpack(packed), packed.pattern, layer=product.name)
