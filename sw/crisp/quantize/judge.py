"""Judging an integer network by thousands of images: the golden model's bits out of torch's convolutions.

Floating point computes the golden integers because it holds every number on the way. Activations are kept as ``x - zero point``, so that
pixels outside the image are 0. While ``sum |w| * max |x - zero point| <= 2^24`` in every row, float32 holds every sum of products, in
whatever order it is added up; else K is cut into pieces of which it does, or float64 takes all (2^53). ``(sum + bias) * multiplier`` is an
integer below 2^49 and a shift changes only the exponent: one multiplication and one addition in float64 are exact. ``round`` rounds half to
even, as `crisp.golden.requantize` does.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn import functional

from crisp.arch import unpack
from crisp.data import Images
from crisp.golden.convolution import Window, from_matrix
from crisp.golden.network import Add, AveragePool, GlobalAveragePool, GroupedProduct, MaxPool, Network, Node, Product, exact_product
from crisp.progress import Report, silent

from .errors import QuantizeError

__all__ = ["FastNetwork", "answers", "judge"]

#: Largest integer up to which float32 holds all integers.
FLOAT32_INTEGERS = 2**24
#: Pixels of the images of a batch: the early layers of so many stay in the cache.
BATCH_PIXELS = 40_000
#: Pieces of K that are computed in float32 rather than all of it in float64, at most.
MOST_PIECES = 4
#: Values that are scaled at a time, in float64: they stay in the cache as well.
PART = 2**16
#: Images that `answers` also computes with the golden model.
CHECKED_IMAGES = 2

#: A node ready to run, and the zero point that its output has been freed from.
Step = tuple[Callable[..., torch.Tensor], int]


class FastNetwork:
    """Computes what `Network.run` computes, to the bit, several times as fast.

    Parameters
    ----------
    network : Network
        Network of integers.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.offsets = {network.input_name: network.input_zero_point}
        self.steps: list[tuple[Node, Callable[..., torch.Tensor]]] = []
        for node in network.nodes:
            step, self.offsets[node.name] = prepare(node, self.offsets)
            self.steps.append((node, step))

    @torch.no_grad()
    def run(self, images: np.ndarray, *, observe: Callable[[str, np.ndarray], None] | None = None) -> np.ndarray:
        """Compute the network.

        Parameters
        ----------
        images : ndarray
            int8 [N, H, W, C], as `Network.quantize_input` gives.
        observe : callable, optional
            Called after every node with its name and its output, int8 [N, H, W, C].

        Returns
        -------
        ndarray
            int8 [N, H, W, C] of the last node.
        """
        network = self.network
        last_use = {name: number for number, node in enumerate(network.nodes) for name in node.inputs}
        offset = self.offsets[network.input_name]
        values = {network.input_name: torch.from_numpy(images).permute(0, 3, 1, 2).float() - offset}  # stays channels last in memory
        with torch.backends.nnpack.flags(enabled=False):  # its convolutions go by way of transforms, which round
            for number, (node, step) in enumerate(self.steps):
                values[node.name] = step(*(values[name] for name in node.inputs))
                if observe is not None:
                    observe(node.name, self.integers(node.name, values[node.name]))
                for name in set(node.inputs):  # what nobody needs any more leaves memory
                    if last_use[name] == number:
                        del values[name]
        last = network.nodes[-1].name
        return self.integers(last, values[last])

    def integers(self, name: str, value: torch.Tensor) -> np.ndarray:
        """Return a tensor as the golden model has it, int8 [N, H, W, C]."""
        return np.ascontiguousarray((value + self.offsets[name]).to(torch.int8).permute(0, 2, 3, 1).numpy())

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each image, int64 [N], of int8 [N, H, W, C]: the channel with the largest output, the first among equals."""
        batch = batch_size(images.shape[1] * images.shape[2])
        parts = [self.run(images[start : start + batch]) for start in range(0, len(images), batch)]
        return np.concatenate([part.reshape(len(part), -1).argmax(axis=1) for part in parts])


def judge(network: Network, images: Images, progress: Report = silent) -> float:
    """Return the share of ``images`` that an integer network names rightly, 0 to 1; see `answers`."""
    return float(np.mean(answers(network, images, progress) == images.labels))


def answers(network: Network, images: Images, progress: Report = silent) -> np.ndarray:
    """Return the class of each image, int64 [N], as `Network.classify` does, several times as fast.

    The first images also go through the golden model, which must give the same bits.

    Parameters
    ----------
    network : Network
        Network of integers.
    images : Images
        No more than a batch of them is read at a time.
    progress : callable
        Called after every batch.

    Raises
    ------
    QuantizeError
        When there is no image; or when this build of torch computes convolutions inexactly.
    """
    if not len(images):
        raise QuantizeError("judging must have at least one image, not none")
    fast = FastNetwork(network)
    first = network.quantize_input(images.take(slice(CHECKED_IMAGES)).inputs())
    if not np.array_equal(fast.run(first), network.run(first, product=exact_product)):
        raise QuantizeError(
            f"{network.name}: torch must compute sums of integers exactly, but differs from the golden model; judge with Network.classify"
        )
    found: list[np.ndarray] = []
    for batch in images.batches(batch_size(images.shape[0] * images.shape[1])):
        found.append(fast.classify(network.quantize_input(batch.inputs())))
        progress("judge", sum(map(len, found)), len(images), "")
    return np.concatenate(found)


def batch_size(pixels: int) -> int:
    """Return how many images of so many pixels are computed at a time."""
    return max(1, BATCH_PIXELS // pixels)


def prepare(node: Node, offsets: Mapping[str, int]) -> Step:
    """Return what computes a node, on tensors from which ``offsets`` have been taken away."""
    if isinstance(node, Product):
        layer, shape = node.layer, (node.layer.num_channels, node.convolution.channels, *node.convolution.kernel)
        weights, scales = from_matrix(unpack(layer.packed), shape, layer.packed.group), (layer.multiplier, layer.shift)
        limits = (layer.clamp_min - layer.output_zero_point, layer.clamp_max - layer.output_zero_point)
        return prepare_product(node, weights, layer.bias, scales, limits, offsets), layer.output_zero_point
    if isinstance(node, GroupedProduct):
        depth = node.convolution.channels // node.convolution.groups
        weights = from_matrix(node.weights, (node.num_channels, depth, *node.convolution.kernel), 1)
        return prepare_product(node, weights, node.bias, (node.multiplier, node.shift), limits_of(node), offsets), node.output_zero_point
    if isinstance(node, Add):
        return prepare_add(node, offsets), node.output_zero_point
    if isinstance(node, MaxPool):
        return prepare_maximum(node, offsets[node.inputs[0]]), offsets[node.inputs[0]]
    if isinstance(node, GlobalAveragePool | AveragePool):
        return prepare_average(node, offsets), node.output_zero_point
    table, first = torch.from_numpy(node.table.astype(np.float32)), offsets[node.inputs[0]] + 128
    return lambda x: table[(x + first).to(torch.int64)].contiguous(memory_format=torch.channels_last), 0


def limits_of(node: Add | GlobalAveragePool | AveragePool | GroupedProduct) -> tuple[int, int]:
    """Return the limits of a node's output less its zero point."""
    return node.clamp_min - node.output_zero_point, node.clamp_max - node.output_zero_point


def prepare_product(
    node: Product | GroupedProduct,
    weights: np.ndarray,
    bias: np.ndarray,
    scales: tuple[np.ndarray, np.ndarray],
    limits: tuple[int, int],
    offsets: Mapping[str, int],
) -> Callable[..., torch.Tensor]:
    """Return what computes a convolution of int8 weights [O, C / groups, kh, kw]."""
    geometry, zero_point = node.convolution, node.input_zero_point
    reach = max(128 + zero_point, 127 - zero_point)
    pieces = cut(weights, reach) if geometry.groups == 1 else [slice(None)]
    dtype = torch.float32 if fits(weights, pieces, reach) else torch.float64
    matrix = torch.from_numpy(weights).to(dtype, memory_format=torch.channels_last)
    kernels = [matrix[:, piece].contiguous(memory_format=torch.channels_last) for piece in pieces]
    multiplier = np.ldexp(scales[0].astype(np.float64), -scales[1].astype(np.int64))
    total = weights.sum(axis=(1, 2, 3), dtype=np.int64)
    offset = (bias + zero_point * total) * multiplier  # the zero point comes out of the bias again: inputs are without it
    factor, constant = (torch.from_numpy(value)[:, None, None] for value in (multiplier, offset))
    shift = zero_point - offsets[node.inputs[0]]
    even = geometry.padding == geometry.padding_end
    inside, around = (geometry.padding, (0, 0, 0, 0)) if even else ((0, 0), border(geometry))

    def run(x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(moved(x, shift), around) if any(around) else moved(x, shift)
        options = (None, geometry.stride, inside, geometry.dilation, geometry.groups)
        sums = functional.conv2d(x[:, pieces[0]].to(dtype), kernels[0], *options)
        for piece, kernel in zip(pieces[1:], kernels[1:], strict=True):
            sums = sums.double().add_(functional.conv2d(x[:, piece].to(dtype), kernel, *options))
        for part in sums.split(part_size(sums)):
            scaled = part.double()
            part.copy_(torch.addcmul(constant, scaled, factor, out=scaled).round_())
        return sums.float().clamp_(*limits)

    return run


def cut(weights: np.ndarray, reach: int) -> list[slice]:
    """Return input channels in the fewest equal pieces of which float32 holds every sum; all of them where a few pieces do not do.

    Parameters
    ----------
    weights : ndarray
        int8 [O, C, kh, kw].
    reach : int
        Largest magnitude of an input.
    """
    channels = weights.shape[1]
    for count in range(1, min(MOST_PIECES, channels) + 1):
        size = -(-channels // count)
        pieces = [slice(start, start + size) for start in range(0, channels, size)]
        if fits(weights, pieces, reach):
            return pieces
    return [slice(None)]


def fits(weights: np.ndarray, pieces: list[slice], reach: int) -> bool:
    """Return whether float32 holds every sum of each of some pieces of the input channels."""
    return all(int(np.abs(weights[:, piece].astype(np.int64)).sum(axis=(1, 2, 3)).max()) * reach <= FLOAT32_INTEGERS for piece in pieces)


def prepare_add(node: Add, offsets: Mapping[str, int]) -> Callable[..., torch.Tensor]:
    """Return what computes a sum."""
    factors = [np.ldexp(float(multiplier), -node.shift) for multiplier in node.multipliers]
    shifts = [zero_point - offsets[name] for name, zero_point in zip(node.inputs, node.zero_points, strict=True)]
    limits = limits_of(node)

    def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a, b, total = moved(a, shifts[0]), moved(b, shifts[1]), torch.empty_like(a)
        size = part_size(a)
        for part, left, right in zip(total.split(size), a.split(size), b.split(size), strict=True):
            part.copy_(left.double().mul_(factors[0]).add_(right, alpha=factors[1]).round_())
        return total.clamp_(*limits)

    return run


def prepare_maximum(node: MaxPool, offset: int) -> Callable[..., torch.Tensor]:
    """Return what computes a maximum."""
    window, around, lowest = node.window, border(node.window), float(-128 - offset)

    def run(x: torch.Tensor) -> torch.Tensor:
        x = functional.pad(x, around, value=lowest) if any(around) else x
        return functional.max_pool2d(x, window.kernel, window.stride, 0, window.dilation)

    return run


def prepare_average(node: GlobalAveragePool | AveragePool, offsets: Mapping[str, int]) -> Callable[..., torch.Tensor]:
    """Return what computes an average, of all pixels or of windows."""
    factor, limits = np.ldexp(float(node.multiplier), -node.shift), limits_of(node)
    shift, window = node.input_zero_point - offsets[node.inputs[0]], node.window if isinstance(node, AveragePool) else None

    def run(x: torch.Tensor) -> torch.Tensor:
        x = moved(x, shift)
        if window is None:
            total = x.sum(dim=(2, 3), keepdim=True, dtype=torch.float64)
        else:
            padded = functional.pad(x, border(window)).double()
            taps = [padded[:, :, rows, columns] for _, _, rows, columns in window.taps(*x.shape[2:])]
            total = torch.stack(taps).sum(dim=0)
        return total.mul_(factor).round_().float().clamp_(*limits)

    return run


def border(window: Window) -> tuple[int, int, int, int]:
    """Return the pixels to the left, to the right, above and below an image, as torch wants them."""
    (above, below), (left, right) = window.borders
    return left, right, above, below


def moved(x: torch.Tensor, shift: int) -> torch.Tensor:
    """Return ``x - shift``."""
    return x - shift if shift else x


def part_size(x: torch.Tensor) -> int:
    """Return how many images of a tensor are scaled at a time."""
    return max(1, PART // x[0].numel())
