import numpy as np
import pytest
import torch
from tests.sw.small import CHECKPOINT, ROOT, small_mobile

from crisp.arch import Config, check
from crisp.compile import import_onnx
from crisp.golden import exact_product, to_matrix
from crisp.networks import NETWORKS, NetworkError, Sparsity, build_network, prune_uniformly, seeded_images, settle_batch_norms
from crisp.progress import silent
from crisp.prune import PruneError
from crisp.quantize import QuantizedProduct
from crisp.quantize.export import export_onnx

TENTH = Sparsity(density=0.1)


@pytest.fixture(scope="module")
def mobilenet():
    return build_network("mobilenetv2-32", TENTH, seed=3)


def test_layers_but_the_first_and_depthwise_ones_obey_their_patterns(mobilenet):
    products = {node.name: node for node in mobilenet.quantized.nodes if isinstance(node, QuantizedProduct)}
    dense = {name for name, node in products.items() if name == "features.0.0" or node.convolution.groups > 1}
    assert len(dense) == 18
    assert mobilenet.patterns.keys() == products.keys() - dense
    for name, pattern in mobilenet.patterns.items():
        check(to_matrix(products[name].weight, 4), pattern, layer=name)
        assert set(np.unique(pattern.n).tolist()) <= {0, 2}
    for name in dense:
        assert mobilenet.densities[name] > 0.9


def test_density_is_the_asked_one_wherever_rank_columns_allow(mobilenet):
    assert mobilenet.density == pytest.approx(0.1, rel=0.05)
    for name, pattern in mobilenet.patterns.items():
        columns = pattern.block_columns
        assert abs(pattern.density - 0.1) <= 0.5 * 0.5 / columns + 1e-9 or pattern.kept.sum(axis=1).max() == 1, name
        assert mobilenet.densities[name] == pytest.approx(pattern.density, rel=0.05)


def test_activations_use_the_range_of_int8(mobilenet):
    network = import_onnx(export_onnx(mobilenet.quantized, block=16, group=4), Config())
    inputs, seen = network.quantize_input(mobilenet.images), {}
    assert np.array_equal(inputs, np.rint(mobilenet.images.transpose(0, 2, 3, 1) * 128 - 1))

    def observe(node, inputs, output):
        seen[node.name] = output

    output = network.run(inputs, product=exact_product, observe=observe)
    for name, values in seen.items():
        assert len(np.unique(values)) > 60, name
        assert np.mean(values == 127) < 0.02, name
    with torch.no_grad():
        expected = mobilenet.model(torch.from_numpy(mobilenet.images)).numpy()
    real = (output[:, 0, 0].astype(float) - network.output_zero_point) * network.output_scale
    assert np.corrcoef(real.ravel(), expected.ravel())[0, 1] > 0.9


def test_seed_decides_all(mobilenet):
    again, other = (build_network("mobilenetv2-32", TENTH, seed=seed) for seed in (3, 4))
    assert again.quantized.tensors == mobilenet.quantized.tensors
    assert all(np.array_equal(again.patterns[name].n, pattern.n) for name, pattern in mobilenet.patterns.items())
    assert other.quantized.tensors != mobilenet.quantized.tensors


@pytest.mark.parametrize(
    "sparsity", [TENTH, Sparsity(density=0.08), Sparsity(n=1, group=4, density=0.25), Sparsity(n=2, group=8, block=32, density=0.15)]
)
def test_linear_layer_behind_an_image_is_pruned_as_the_convolution_that_it_is(sparsity):
    model = small_mobile()
    patterns = prune_uniformly(model, np.zeros((1, 3, 16, 16), np.float32), sparsity, silent)
    assert list(patterns) == ["dilated.0", "classifier.0", "classifier.3"]
    matrix = to_matrix(model.classifier[0].weight.detach().numpy().reshape(5, 8, 4, 4), sparsity.group)
    check(matrix, patterns["classifier.0"], layer="classifier.0")
    assert np.count_nonzero(matrix) == round(patterns["classifier.0"].density * matrix.size)
    assert patterns["classifier.0"].kept.sum(axis=1).min() >= 1


def test_batch_norms_have_the_statistics_of_the_images():
    model = small_mobile()
    images = np.random.default_rng(0).normal(size=(6, 3, 16, 16)).astype(np.float32)
    settle_batch_norms(model, images, None)
    norm, seen = model.stem[2], []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.from_numpy(images))
    assert not norm.training
    assert norm.momentum == 0.1
    assert torch.allclose(norm.running_mean, torch.stack([part.mean(dim=(0, 2, 3)) for part in seen[0].split(4)]).mean(dim=0), atol=1e-5)


def test_seeded_images_fill_the_range_of_pixels():
    images = seeded_images(2, 32, 3, seed=1)
    assert (images.shape, images.dtype) == ((2, 32, 32, 3), np.uint8)
    assert (images.min(), images.max()) == (0, 255)
    assert np.array_equal(images, seeded_images(2, 32, 3, seed=1))
    assert not np.array_equal(images, seeded_images(2, 32, 3, seed=2))


def test_dense_network_keeps_its_weights(monkeypatch):
    monkeypatch.chdir(ROOT)
    if not CHECKPOINT.is_file():
        pytest.skip("the trained checkpoint is not in this tree")
    dense, sparse = build_network("resnet20-fashion"), build_network("resnet20-fashion", TENTH)
    assert dense.patterns == {}
    assert dense.density == 1
    assert min(dense.densities.values()) > 0.9
    assert sparse.density == pytest.approx(0.1, rel=0.05)
    assert sparse.quantized.name == "resnet20-fashion"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50-224", "mobilenetv2-224"])
def test_networks_at_full_size(name):
    network = build_network(name, TENTH)
    assert network.quantized.image == (224, 224, 3)
    assert network.density == pytest.approx(0.1, rel=0.05)


def test_every_network_names_an_architecture_that_takes_its_images():
    assert {"resnet20-fashion", "resnet50-224", "resnet50-32", "vgg16-224", "mobilenetv2-224", "efficientnet-lite0-224"} <= NETWORKS.keys()
    for name, spec in NETWORKS.items():
        assert name.endswith(str(spec.input_size)) or spec.trained


def test_what_cannot_be_built():
    with pytest.raises(NetworkError, match=r"network must be one of resnet20-fashion, .*, not 'alexnet'"):
        build_network("alexnet")
    with pytest.raises(NetworkError, match=r"density must be more than 0 and at most N / M = 0\.5, not 0\.6"):
        Sparsity(density=0.6)
    with pytest.raises(PruneError, match="n must be from 1 to group = 4, not 5"):
        Sparsity(n=5)
    assert str(Sparsity(density=0.08)) == "2:4, 8% in blocks of 16"
