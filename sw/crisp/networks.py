"""Real architectures at their real sizes for benchmarks: built, pruned to a pattern, quantized.

Cycles follow from shapes and patterns, not from what a network has learnt; so most of these are seeded, not trained. They are pruned by the
same masks as trained ones, by magnitude, and their batch norms have the statistics of the pruned network, so that activations use the
range of int8 as a trained network's do. Every layer is cut to the same density but the first, which sees the image, and depthwise
convolutions, whose few weights are not worth it: those stay dense.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.arch import Pattern, check
from crisp.arch.errors import CrispError
from crisp.data import load_pictures, normalize, normalize_colours
from crisp.golden.convolution import from_matrix, to_matrix
from crisp.models import build, load_checkpoint, load_efficientnet_lite0
from crisp.progress import Report, silent
from crisp.prune import PruneOptions
from crisp.prune.masks import choose_uniform_mask
from crisp.quantize import QuantizedModel, QuantizedProduct, QuantizeOptions, quantize, trace
from crisp.quantize.graph import FloatProduct

__all__ = ["NETWORKS", "BenchmarkNetwork", "NetworkError", "NetworkSpec", "Sparsity", "build_network"]

#: Images that a calibration batch has: those of 224 pixels are large.
BATCH = 4


class NetworkError(CrispError):
    """A benchmark's network or sparsity cannot be."""


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """What a benchmark's network is.

    Parameters
    ----------
    architecture : str
        Name in `crisp.models.ARCHITECTURES`.
    input_size : int
        Height and width of the images.
    num_classes : int
        Outputs.
    trained : bool
        Whether its weights are trained ones, which are loaded, or seeded.
    """

    architecture: str
    input_size: int
    num_classes: int
    trained: bool = False


#: Networks by name.
NETWORKS = {
    "resnet20-fashion": NetworkSpec("resnet20", 28, 10, trained=True),
    "resnet50-32": NetworkSpec("resnet50", 32, 100),
    "resnet50-224": NetworkSpec("resnet50", 224, 1000),
    "vgg16-32": NetworkSpec("vgg16", 32, 100),
    "vgg16-224": NetworkSpec("vgg16", 224, 1000),
    "mobilenetv2-32": NetworkSpec("mobilenetv2", 32, 100),
    "mobilenetv2-224": NetworkSpec("mobilenetv2", 224, 1000),
    "efficientnet-lite0-224": NetworkSpec("efficientnet-lite0", 224, 1000, trained=True),
}

#: Trained weights of ResNet-20, below the current folder.
CHECKPOINT = Path("checkpoints/resnet20-fashion-mnist.safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sparsity:
    """Which hybrid pattern all pruned layers get.

    Parameters
    ----------
    n, group : int
        N and M: of every M neighbouring weights in a kept block N stay.
    block : int
        B: 16, 32 or 64.
    density : float
        Share of the weights that stays, more than 0 and at most N / M.
    """

    n: int = 2
    group: int = 4
    block: int = 16
    density: float = 0.1

    def __post_init__(self) -> None:
        self.options()  # checks N, M and B
        if not 0 < self.density <= self.n / self.group:
            raise NetworkError(f"density must be more than 0 and at most N / M = {self.n / self.group}, not {self.density}")

    def __str__(self) -> str:
        return f"{self.n}:{self.group}, {self.density:.0%} in blocks of {self.block}"

    def options(self) -> PruneOptions:
        """Return the settings of pruning that speak of N, M and B."""
        return PruneOptions(n=self.n, group=self.group, block=self.block, per_block=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkNetwork:
    """A network, pruned and quantized.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    sparsity : Sparsity, optional
        What it was pruned to; none where it is dense.
    model : Module
        float32 network, in evaluation mode, its masks applied.
    quantized : QuantizedModel
        The same in int8.
    patterns : dict
        Pattern of each pruned layer, by its name.
    images : ndarray
        float32 [N, C, H, W]: what it was calibrated with.
    """

    name: str
    sparsity: Sparsity | None
    model: nn.Module
    quantized: QuantizedModel
    patterns: dict[str, Pattern]
    images: np.ndarray

    @property
    def densities(self) -> dict[str, float]:
        """Share of int8 weights that are not zero, by layer, the dense ones as well."""
        products = [node for node in self.quantized.nodes if isinstance(node, QuantizedProduct)]
        return {node.name: int(np.count_nonzero(node.weight)) / node.weight.size for node in products}

    @property
    def density(self) -> float:
        """Share of the weights of all pruned layers that their patterns leave room for; 1 when dense."""
        sizes = {name: pattern.shape[0] * pattern.shape[1] for name, pattern in self.patterns.items()}
        if not sizes:
            return 1.0
        return sum(pattern.density * sizes[name] for name, pattern in self.patterns.items()) / sum(sizes.values())


def build_network(
    name: str, sparsity: Sparsity | None = None, *, seed: int = 0, images: np.ndarray | None = None, progress: Report = silent
) -> BenchmarkNetwork:
    """Build a network, prune it by magnitude, and quantize it.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    sparsity : Sparsity, optional
        Pattern of the pruned layers; without it all stay dense.
    seed : int
        Source of weights, of batch norms' parameters, and of images.
    images : ndarray, optional
        float32 [N, C, H, W]: images to calibrate with. Pictures of ImageNet for EfficientNet-Lite0, else seeded ones, by default.
    progress : callable
        Called after every pruned layer and every calibration batch.

    Raises
    ------
    NetworkError
        When there is no such network.
    DataError, CheckpointError
        When trained weights cannot be had.
    """
    if name not in NETWORKS:
        raise NetworkError(f"network must be one of {', '.join(NETWORKS)}, not {name!r}")
    spec = NETWORKS[name]
    model = load_model(spec, seed)
    if images is None:
        images = default_images(spec, seed)
    patterns = {} if sparsity is None else prune_uniformly(model, images[:1], sparsity, progress)
    if sparsity is not None or not spec.trained:
        settle_batch_norms(model, images, None if spec.trained else seed)
    quantized = quantize(model, images, QuantizeOptions(batch=BATCH), name=name, progress=progress)
    return BenchmarkNetwork(name=name, sparsity=sparsity, model=model, quantized=quantized, patterns=patterns, images=images)


def load_model(spec: NetworkSpec, seed: int) -> nn.Module:
    """Return the network with its trained or seeded weights, in evaluation mode."""
    if not spec.trained:
        return build(spec.architecture, spec.num_classes, spec.input_size, seed)
    if spec.architecture == "resnet20":
        return load_checkpoint(CHECKPOINT)[0]
    return load_efficientnet_lite0()


def default_images(spec: NetworkSpec, seed: int) -> np.ndarray:
    """Return images to calibrate with, float32 [N, C, H, W]."""
    if spec.architecture == "efficientnet-lite0":
        return normalize_colours(load_pictures(size=spec.input_size).images[: 2 * BATCH])
    if spec.architecture == "resnet20":
        return normalize(seeded_images(4 * BATCH, spec.input_size, 1, seed)[..., 0])
    return normalize_colours(seeded_images(BATCH if spec.input_size > 64 else 4 * BATCH, spec.input_size, 3, seed))


def seeded_images(count: int, size: int, channels: int, seed: int) -> np.ndarray:
    """Return smooth random images with some noise, as natural ones are: uint8 [count, size, size, channels], from 0 to 255."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.uniform(-60, 315, size=(count, channels, 8, 8)))
    smooth = functional.interpolate(coarse, size=(size, size), mode="bilinear").numpy()
    levels = np.clip(np.rint(smooth + random.normal(scale=10, size=smooth.shape)), 0, 255).astype(np.uint8)
    levels[0, :, 0, 0], levels[-1, :, -1, -1] = 0, 255  # so that the input's scale is that of pixels
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def prunable_shapes(model: nn.Module, image: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Return the layers that are pruned, with the shape [O, C, kh, kw] that their weights have in the machine.

    A linear layer behind a flattened image is a convolution as large as that.
    """
    products = [node for node in trace(model, torch.from_numpy(image)).nodes if isinstance(node, FloatProduct)]
    return {node.name: tuple(node.weight.shape) for node in products[1:] if node.convolution.groups == 1}


@torch.no_grad()
def prune_uniformly(model: nn.Module, image: np.ndarray, sparsity: Sparsity, progress: Report) -> dict[str, Pattern]:
    """Set the weights of ``model`` that are least in magnitude to zero, in place, and return the patterns of the layers."""
    patterns: dict[str, Pattern] = {}
    shapes = prunable_shapes(model, image)
    for name, shape in shapes.items():
        weight = model.get_submodule(name).get_parameter("weight")
        matrix = to_matrix(weight.numpy().reshape(shape), sparsity.group)
        exists = to_matrix(np.ones(shape, bool), sparsity.group)
        mask, patterns[name] = choose_uniform_mask(np.abs(matrix), exists, sparsity.density, sparsity.options())
        check(matrix * mask, patterns[name], layer=name)
        weight.mul_(torch.from_numpy(from_matrix(mask, shape, sparsity.group)).reshape(weight.shape))
        progress("prune", len(patterns), len(shapes), name)
    return patterns


@torch.no_grad()
def settle_batch_norms(model: nn.Module, images: np.ndarray, seed: int | None) -> None:
    """Give all batch norms the statistics of ``images``, and, where there is a ``seed``, random factors and offsets."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    random = None if seed is None else torch.Generator().manual_seed(seed)
    momentum = {norm: norm.momentum for norm in norms}
    for norm in norms:
        if random is not None:
            nn.init.uniform_(norm.weight, 0.5, 1.5, random)
            nn.init.normal_(norm.bias, std=0.2, generator=random)
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for start in range(0, len(images), BATCH):
        model(torch.from_numpy(images[start : start + BATCH]))
    for norm in norms:
        norm.momentum = momentum[norm]
        norm.eval()
