"""The golden network against ONNX Runtime: 1 in the last place, in at most one value of a thousand.

Each node is computed on ONNX Runtime's own inputs, so that a difference is counted where it arises. Without optimisation ONNX Runtime
computes in float32 between DequantizeLinear and QuantizeLinear; with it, by its integer kernels.
"""

import numpy as np
import pytest
import torch
from tests.sw.compile.random_models import RandomNet
from tests.sw.compile.runtime import compare, total
from tests.sw.small import CHECKPOINT, small_mobile, small_net, striped_split, with_statistics

from crisp.arch import Config
from crisp.data import normalize
from crisp.golden.network import exact_product
from crisp.models import load_checkpoint, resnet20
from crisp.quantize import QuantizeOptions, RangeMethod, quantize
from crisp.quantize.export import export_onnx

STRIPES = striped_split(40, 4, 28, seed=3).images
NOISE = np.random.default_rng(0).normal(size=(40, 3, 16, 16)).astype(np.float32)


def check(data: bytes, x: np.ndarray, optimise: bool) -> None:
    network, differences = compare(data, x, optimise=optimise)
    assert set(differences) == {node.name for node in network.nodes}
    found = total(differences.values())
    print(f"{found.different} of {found.values} values differ, by at most {found.largest}")
    assert found.is_small, {name: part for name, part in differences.items() if not part.is_small}


@pytest.mark.parametrize("optimise", [False, True], ids=["float", "integer"])
@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int, optimise: bool) -> None:
    model = RandomNet(seed)
    check(export_onnx(quantize(model, model.images(24, 1))), model.images(16, 2), optimise)


@pytest.mark.parametrize("optimise", [False, True], ids=["float", "integer"])
@pytest.mark.parametrize("method", list(RangeMethod))
def test_small_networks(method: RangeMethod, optimise: bool) -> None:
    options = QuantizeOptions(method=method, percentile=99)
    check(export_onnx(quantize(small_net(), STRIPES, options)), normalize(STRIPES[:8]), optimise)
    check(export_onnx(quantize(small_mobile(), NOISE, options)), NOISE, optimise)


@pytest.mark.parametrize("optimise", [False, True], ids=["float", "integer"])
@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.skipif(not CHECKPOINT.is_file(), reason="no checkpoint"))])
def test_resnet20(trained: bool, optimise: bool) -> None:
    torch.manual_seed(1)
    model = load_checkpoint(CHECKPOINT)[0] if trained else with_statistics(resnet20())
    check(export_onnx(quantize(model, STRIPES)), normalize(STRIPES[:4]), optimise)


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="the trained checkpoint is not in this tree")
def test_whole_network_answers_as_the_runtime_does() -> None:
    """Differences add up along the network, but not to another answer."""
    import onnxruntime

    from crisp.compile import import_onnx

    data = export_onnx(quantize(load_checkpoint(CHECKPOINT)[0], STRIPES))
    network, x = import_onnx(data, Config()), normalize(STRIPES)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"input": x})
    ours = network.run(network.quantize_input(x), product=exact_product)[:, 0, 0]
    steps = np.abs((ours.astype(float) - network.output_zero_point) - theirs / network.output_scale)
    assert steps.max() < 3.01
    assert np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1)) >= 0.95
