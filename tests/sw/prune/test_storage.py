import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.sw.small import RESNET20, SmallNet, small_net, striped_dataset, striped_split

from crisp.arch import PatternError
from crisp.data import Dataset
from crisp.models import CheckpointError, ModelSpec, load_checkpoint, resnet20, save_checkpoint
from crisp.prune import PruneOptions, load_pruned, prune, save_pruned
from crisp.prune.storage import PREFIX


@pytest.fixture(scope="module")
def pruned():
    torch.manual_seed(0)
    split = striped_split(60, 3, 8, 0)
    options = PruneOptions(iterations=1, final_images=16, saliency_images=16, batch=16, keep_dense=("layer1.0.conv1",))
    return prune(resnet20(num_classes=3), Dataset("stripes", "made", ("a", "b", "c"), split, split), (2, 0), options)


def test_what_is_saved_is_loaded(pruned, tmp_path):
    save_pruned(tmp_path / "a.safetensors", pruned, RESNET20)
    loaded = load_pruned(tmp_path / "a.safetensors")
    for field in ("patterns", "classes", "options", "dense_validation_accuracy", "history", "sparsity"):
        assert getattr(loaded, field) == getattr(pruned, field), field
    assert all(torch.equal(tensor, loaded.model.state_dict()[name]) for name, tensor in pruned.model.state_dict().items())


def test_network_is_said_with_all_that_it_is_built_from(tmp_path):
    split = striped_split(60, 3, 28, 0)
    options = PruneOptions(sparsity=0.7, iterations=1, final_images=16, saliency_images=16, batch=16)
    spec = ModelSpec("mobilenetv2", 3, 28, 1, 0.25)
    pruned = prune(spec.build(), Dataset("stripes", "made", ("a", "b", "c"), split, split), (2, 0), options)
    assert "features.1.conv.0.0" not in pruned.patterns  # depthwise
    save_pruned(tmp_path / "a.safetensors", pruned, spec)
    loaded = load_pruned(tmp_path / "a.safetensors").model
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in pruned.model.state_dict().items())


def test_network_of_the_user_is_said_to_be_one(tmp_path):
    options = PruneOptions(iterations=1, final_images=16, saliency_images=16, batch=16)
    pruned = prune(small_net(), striped_dataset(), (2, 0), options)
    save_pruned(tmp_path / "a.safetensors", pruned)
    assert load_pruned(tmp_path / "a.safetensors", SmallNet()).patterns == pruned.patterns
    with pytest.raises(CheckpointError, match=r"not None; where the network is your own, name the function that makes it"):
        load_pruned(tmp_path / "a.safetensors")


def test_weights_that_break_their_pattern(pruned, tmp_path):
    save_pruned(tmp_path / "a.safetensors", pruned, RESNET20)
    change(tmp_path / "a.safetensors", {"layer2.1.conv1.weight": torch.ones(32, 32, 3, 3)})
    with pytest.raises(PatternError, match=r"layer2\.1\.conv1: row 0, group"):
        load_pruned(tmp_path / "a.safetensors")


def test_pattern_of_no_layer(pruned, tmp_path):
    save_pruned(tmp_path / "a.safetensors", pruned, RESNET20)
    change(tmp_path / "a.safetensors", {PREFIX + "layer9": torch.ones(1, 1, dtype=torch.uint8)})
    with pytest.raises(CheckpointError, match="a pattern must belong to a layer of the network, not to 'layer9'; prune again"):
        load_pruned(tmp_path / "a.safetensors")


def test_checkpoint_that_was_not_pruned(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", resnet20(), {"architecture": "resnet20", "num_classes": "10"})
    with pytest.raises(CheckpointError, match="must say how it was pruned, but lacks 'options'; prune again"):
        load_pruned(tmp_path / "a.safetensors")


def test_pruned_network_is_no_plain_checkpoint(pruned, tmp_path):
    save_pruned(tmp_path / "a.safetensors", pruned, RESNET20)
    with pytest.raises(CheckpointError, match="has the unknown tensor pattern:layer1"):
        load_checkpoint(tmp_path / "a.safetensors")


def change(path, tensors):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({**load_file(path), **tensors}, path, metadata)


def test_settings_of_another_version(pruned, tmp_path):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    settings = {**json.loads(metadata["options"]), "cycle_emphasis": 0.5}
    save_file(load_file(path), path, {**metadata, "options": json.dumps(settings)})
    with pytest.raises(CheckpointError, match=r"must have settings that this version knows, but cycle_emphasis must be .*; prune again"):
        load_pruned(path)


def test_damaged_file(pruned, tmp_path):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: must be a safetensors file, not something damaged"):
        load_pruned(path)
