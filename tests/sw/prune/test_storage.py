import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.sw.small import RESNET20, SmallNet, small_net, striped_dataset, striped_split

from crisp.arch import PatternError
from crisp.data import Dataset
from crisp.models import CheckpointError, ModelSpec, load_checkpoint, load_model, load_weights, resnet20, save_checkpoint
from crisp.models.checkpoint import PATTERN_PREFIX
from crisp.prune import PruneOptions, load_pruned, prune, save_pruned
from crisp.prune.storage import BEFORE, SHOWN


@pytest.fixture(scope="module")
def pruned():
    torch.manual_seed(0)
    split = striped_split(60, 3, 8, 0)
    options = PruneOptions(iterations=1, final_images=16, saliency_images=16, batch=16, keep_dense=("layer1.0.conv1",))
    return prune(resnet20(num_classes=3), Dataset("stripes", "made", ("a", "b", "c"), split, split), (2, 0), options)


@pytest.fixture(scope="module")
def pruned_own():
    """A network of the user."""
    options = PruneOptions(iterations=1, final_images=16, saliency_images=16, batch=16)
    return prune(small_net(), striped_dataset(), (2, 0), options)


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


def test_network_of_the_user_is_said_to_be_one(pruned_own, tmp_path):
    save_pruned(tmp_path / "a.safetensors", pruned_own)
    assert load_pruned(tmp_path / "a.safetensors", SmallNet()).patterns == pruned_own.patterns
    with pytest.raises(CheckpointError, match=r"not None; where the network is your own, name the function that makes it"):
        load_pruned(tmp_path / "a.safetensors")


LAYER = "layer2.1.conv1"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("options", "[]", "(of type list, not dict); prune again"),
        ("options", "{", "(Expecting "),
        (
            "options",
            '{"cycle_emphasis": 1}',
            "(cycle_emphasis must be a setting of pruning, but is none; did you mean cycles?); prune again",
        ),
        ("options", '{"sparsity": 2}', "(sparsity must be at least 0 and below 1, not 2.0); prune again"),
        ("shapes", "[]", "(of type list, not dict); prune again"),
        ("shapes", json.dumps({LAYER: "9"}), "(of type str, not list); prune again"),
        ("shapes", json.dumps({LAYER: [-1, 32, 3, 3]}), "(not all above 0); prune again"),
        ("classes", "3", "(of type int, not list); prune again"),
        ("classes", '["a"]', "(of type str, not int); prune again"),
        ("class_names", "[1]", "(of type int, not str); prune again"),
        ("history", "[1]", "(of type int, not dict); prune again"),
        ("history", '[{"a": 1}]', "("),
        ("history", '[{"sparsity": "x"}]', "(of type str, not float); prune again"),
        ("dense_validation_accuracy", "high", "(Expecting value: "),
        ("pruned_layers", "{}", "(of type dict, not list); prune again"),
    ],
)
def test_words_that_are_damaged(pruned, tmp_path, name, text, reason):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    change(path, words={name: text})
    with pytest.raises(CheckpointError) as caught:
        load_pruned(path)
    rule = f"{name} must be what this version's `crisp prune` writes there, not {text[:SHOWN]!r}"
    assert str(caught.value).startswith(f"{path}: {rule} {reason}")


@pytest.mark.parametrize(
    ("tensor", "words", "message"),
    [
        (torch.ones(1, 1, dtype=torch.uint8), {}, "(n must have the shape (2, 18), not (1, 1))"),
        (torch.ones(2, 18), {}, "(n must be integers, not float32)"),
        (torch.ones(2, 18, dtype=torch.bfloat16), {}, "(Got unsupported ScalarType BFloat16)"),
        (torch.full((2, 18), 9, dtype=torch.uint8), {}, "(n must be 0 to M = 4, not 9 in block (0, 0))"),
        (None, {"shapes": json.dumps({LAYER: [1, 2, 3]})}, "(cannot reshape array of size 9216 into shape (1,2,3))"),
    ],
)
def test_pattern_that_does_not_fit_its_layer(pruned, tmp_path, tensor, words, message):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    change(path, {} if tensor is None else {PATTERN_PREFIX + LAYER: tensor}, words)
    with pytest.raises(CheckpointError) as caught:
        load_pruned(path)
    assert str(caught.value) == f"{path}: {LAYER}: the pattern must fit the layer's weight {message}; prune again"


def test_weights_that_break_their_pattern(pruned, tmp_path):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    change(path, {f"{LAYER}.weight": torch.ones(32, 32, 3, 3)})
    with pytest.raises(PatternError, match=rf"^{re.escape(str(path))}: layer2\.1\.conv1: row 0, group .*; prune again$"):
        load_pruned(path)


def test_pattern_of_no_layer(pruned, tmp_path):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    change(path, {PATTERN_PREFIX + "layer9": torch.ones(1, 1, dtype=torch.uint8)})
    with pytest.raises(CheckpointError, match=r"layer9: the pattern must belong to a layer of the network \(.*`layer9`.*\); prune again"):
        load_pruned(path)


@pytest.mark.parametrize(
    ("words", "count", "lacks"),
    [({}, 1, "that of layer1.0.conv2"), ({}, None, "that of layer1.0.conv2"), ({"pruned_layers": None}, None, "any")],
)
def test_patterns_that_are_lost(pruned, tmp_path, words, count, lacks):
    """A file that was written before the layers were listed lacks ``pruned_layers``."""
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    change(path, words=words, without=[PATTERN_PREFIX + name for name in sorted(pruned.patterns)[:count]])
    with pytest.raises(CheckpointError) as caught:
        load_pruned(path)
    assert str(caught.value) == f"{path}: must hold the pattern of every pruned layer, but lacks {lacks}; prune again"


def test_files_from_before_are_loaded(pruned, tmp_path):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    change(path, words=dict.fromkeys(BEFORE))
    assert load_pruned(path).patterns == pruned.patterns


def test_pattern_of_a_layer_that_was_not_pruned(pruned, tmp_path):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    change(path, {PATTERN_PREFIX + "layer1.0.conv1": torch.full((1, 9), 4, dtype=torch.uint8)})
    with pytest.raises(CheckpointError) as caught:
        load_pruned(path)
    assert str(caught.value) == f"{path}: must hold patterns of pruned layers alone, but has one of layer1.0.conv1; prune again"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"num_outputs": "x"}, "num_outputs must be what this version's `crisp prune` writes there, not 'x' ("),
        ({"num_outputs": "0"}, "num_outputs must be what this version's `crisp prune` writes there, not '0' ("),
        ({"num_outputs": "99999999999"}, "the network must have the 99999999999 outputs of the file's, or more, not 4; name the one that"),
    ],
)
def test_outputs_that_the_network_of_the_user_has_not(pruned_own, tmp_path, words, message):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned_own)
    change(path, words=words)
    with pytest.raises(CheckpointError) as caught:
        load_pruned(path, SmallNet())
    assert str(caught.value).startswith(f"{path}: {message}")


def test_checkpoint_that_was_not_pruned(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", resnet20(), {"architecture": "resnet20", "num_classes": "10"})
    with pytest.raises(CheckpointError, match="must say how it was pruned, but lacks 'options'; prune again"):
        load_pruned(tmp_path / "a.safetensors")


def test_pruned_network_is_no_plain_checkpoint(pruned, tmp_path):
    """Nor are the weights of a network that it names, or the user's own."""
    path = tmp_path / "a.safetensors"
    for spec in (RESNET20, None):
        save_pruned(path, pruned, spec)
        for read in (load_checkpoint, lambda path: load_weights(path, resnet20(num_classes=2)), lambda path: load_model(path, RESNET20)):
            with pytest.raises(CheckpointError) as caught:
                read(path)
            assert str(caught.value) == (
                f"{path}: must be a network before pruning, but this one is pruned already; give the one that it was pruned from, or read "
                f"it with `crisp.prune.load_pruned`, as `crisp quantize` does"
            )


def change(path, tensors=None, words=None, without=()):
    """Replace tensors and metadata of a file, leave metadata out that are none, and tensors that are named."""
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), **(words or {})}
    kept = {name: tensor for name, tensor in {**load_file(path), **(tensors or {})}.items() if name not in without}
    save_file(kept, path, {name: text for name, text in metadata.items() if text is not None})


def test_damaged_file(pruned, tmp_path):
    path = tmp_path / "a.safetensors"
    save_pruned(path, pruned, RESNET20)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: must be a safetensors file, not something damaged"):
        load_pruned(path)
