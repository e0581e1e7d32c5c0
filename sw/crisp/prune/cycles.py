"""Cycles of a network with given patterns, as the compiler predicts them, before any weight is there.

Cycles depend on shapes and patterns, not on what weights are. So the network is traced and brought to the compiler once, with integers that
are drawn; afterwards only the packed weights of layers are exchanged for others, drawn too, that have the pattern asked for. What comes out
is the prediction of the program that `crisp compile` would write: ``schedule_network(...).program.info["predicted_cycles"]``.
"""

import dataclasses
import math
import zlib
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch import nn

from crisp.arch import Config, PackedWeights, Pattern, PatternError, ProductLayer, pack, unpack
from crisp.arch.packing import schedule
from crisp.arch.pattern import check_uniform
from crisp.compile.compile import Compilation, schedule_network
from crisp.compile.emit import worthwhile
from crisp.compile.errors import CompileError
from crisp.golden.convolution import to_matrix
from crisp.golden.network import Network, Product
from crisp.models.evaluate import evaluating
from crisp.quantize import to_network, trace
from crisp.quantize.drawn import draw_model
from crisp.quantize.graph import FloatProduct

from .cycle_estimate import CycleEstimate, Point, layer_cycles, random_pattern

__all__ = ["CycleModel"]

#: Patterns that `CycleModel.estimate` is fitted to: share of the blocks that is kept, at least one of every block row, and N / M.
DENSITIES = ((0, 0.25), (0, 0.5), (0.06, 0.5), (0.12, 0.5), (0.2, 0.5), (0.35, 0.5), (0.6, 0.5), (1, 0.5), (1, 1))


class CycleModel:
    """Predicts the cycles of one image.

    Parameters
    ----------
    model : Module
        Network; it is left as it is, and not needed any more afterwards.
    image : ndarray
        float32 [1, C, H, W]: any image of the size that the network is for.
    config : Config
        The machine.
    block : int
        B of the patterns that `estimate` is fitted to: 16, 32 or 64.

    Attributes
    ----------
    shapes : dict
        By layer that is one matrix product, the first and the last included: [O, C, kh, kw] of its weights in the machine. A linear layer
        behind a flattened image is a convolution as large as that; ``to_matrix(weight.reshape(shape), M)`` is the matrix that its pattern
        speaks of, and ``from_matrix`` the way back.
    patterns : dict
        By layer: its dense pattern.

    Raises
    ------
    QuantizeError
        When the network has an operation that the machine has not.
    CompileError
        When the machine cannot express the network.
    """

    def __init__(self, model: nn.Module, image: np.ndarray, config: Config, block: int = 16) -> None:
        self.config = config
        _, channels, height, width = image.shape
        self.image = (height, width, channels)
        with evaluating(model):
            graph = trace(model, torch.from_numpy(image))
        convolutions = [node for node in graph.nodes if isinstance(node, FloatProduct)]
        products = {node.name: node for node in convolutions if node.convolution.groups == 1}
        self.ends = {node.name for node in (*convolutions[:1], *convolutions[-1:])}
        #: By layer: the products that it makes, more than one where the network calls it more than once.
        self.uses: dict[str, list[str]] = {}
        for name, node in products.items():
            self.uses.setdefault(node.layer or name, []).append(name)
        self.owners = {use: layer for layer, uses in self.uses.items() for use in uses}
        self.shapes: dict[str, tuple[int, int, int, int]] = {name: shape_of(node) for name, node in products.items()}
        self.network = to_network(draw_model(graph, self.image), config)
        self.block = self.fitting_block(block)
        self.patterns = {name: Pattern.dense(self.matrix_shape(name), self.block, config.group_size) for name in self.shapes}
        self.known: dict[tuple[str, int, bytes], Product] = {}

    @cached_property
    def dense(self) -> int:
        """Predicted cycles with all layers dense."""
        return self.predict({})

    @cached_property
    def estimator(self) -> CycleEstimate:
        """What `estimate` and `layer_cycles` go by: the compiler's predictions at some densities.

        Raises
        ------
        CompileError
            When the network fits the machine at none of them.
        """
        layers = {name: self.patterns[name] for name in self.shapes if name not in self.ends}
        random, points, refused = np.random.default_rng(0), [], None
        for share, part in DENSITIES:
            n = max(1, round(part * self.config.group_size))
            patterns = {name: random_pattern(dense, share, n, random) for name, dense in layers.items()}
            try:
                found = self.compile(patterns)
            except CompileError as error:
                refused = error
                continue
            steps = {name: float(pattern.row_steps.max()) for name, pattern in patterns.items()}
            points.append(Point(steps, layer_cycles(found, layers), found.program.info["predicted_cycles"]))
        if refused is not None and not points:
            raise refused
        return CycleEstimate(points, {name: float(dense.row_steps.max()) for name, dense in layers.items()})

    def layer_cycles(self, name: str, steps: np.ndarray) -> np.ndarray:
        """Estimate the cycles of a layer, wherever the network calls it, from the steps of its row tiles, which may be many."""
        return np.sum([self.estimator.layer(use, steps) for use in self.uses[name]], axis=0)

    def predict(self, patterns: Mapping[str, Pattern]) -> int:
        """Return the predicted cycles of one image.

        Parameters
        ----------
        patterns : mapping
            By layer, of the matrix in the machine (see ``shapes``). Layers that are not named are dense; one that the network calls
            several times has one pattern. Blocks may differ from layer to layer: the network is then packed in the smallest.

        Raises
        ------
        PatternError
            When a pattern belongs to no layer, is of another shape or group, or is not uniform; names the layer.
        CompileError
            When the network does not fit the machine; names the layer.
        """
        cycles: int = self.compile(patterns).program.info["predicted_cycles"]
        return cycles

    def estimate(self, steps: Mapping[str, float]) -> float:
        """Estimate the cycles of one image in microseconds.

        Parameters
        ----------
        steps : mapping
            By layer: steps of a row tile, the largest of all block rows (`Pattern.row_steps`). Layers that are not named are dense.
            What is said of the first and of the last layer is left aside: they are dense.
        """
        return self.estimator(steps)

    def compile(self, patterns: Mapping[str, Pattern]) -> Compilation:
        """Return the program that `predict` speaks of, with weights that are drawn."""
        return schedule_network(self.with_patterns(patterns), self.config, self.image)

    def with_patterns(self, patterns: Mapping[str, Pattern]) -> Network:
        """Return the network with weights of these patterns."""
        for name, pattern in patterns.items():
            self.check(name, pattern)
        if not patterns:
            return self.network
        block = self.fitting_block(min(pattern.block for pattern in patterns.values()))
        nodes = [self.product(node, patterns, block) if isinstance(node, Product) else node for node in self.network.nodes]
        return dataclasses.replace(self.network, nodes=nodes)

    def check(self, name: str, pattern: Pattern) -> None:
        """Hold a pattern against the layer that it is for."""
        if name not in self.shapes:
            raise PatternError(f"{name}: a pattern must belong to a layer of the network, which are {', '.join(self.shapes)}")
        if pattern.shape != self.matrix_shape(name):
            raise PatternError(
                f"{name}: rule shape: its weights {self.shapes[name]} are a matrix {self.matrix_shape(name)} in the machine, "
                f"their pattern is {pattern.shape}"
            )
        if pattern.group != self.config.group_size:
            raise PatternError(f"{name}: group must be that of the machine, {self.config.group_size}, not {pattern.group}")
        check_uniform(pattern, layer=name)

    def matrix_shape(self, name: str) -> tuple[int, int]:
        """Return (O, K) of a layer."""
        return matrix_shape(self.shapes[name], self.config.group_size)

    def fitting_block(self, block: int) -> int:
        """Return the least block that is at least ``block`` and that rows and groups divide."""
        return max(block, self.config.rows, self.config.group_size)

    def product(self, node: Product, patterns: Mapping[str, Pattern], block: int) -> Product:
        """Return a layer with weights of its pattern, in blocks of ``block``."""
        pattern = patterns.get(node.name, patterns.get(self.owners.get(node.name, "")))
        key = node.name, block, b"" if pattern is None else bytes([pattern.block]) + pattern.n.tobytes()
        found = self.known.pop(key, None)
        if found is None:
            found = dataclasses.replace(node, layer=self.layer(node, pattern, block))
        self.known[key] = found
        while len(self.known) > 4 * len(self.network.nodes):  # those that have not been asked for the longest
            del self.known[next(iter(self.known))]
        return found

    def layer(self, node: Product, pattern: Pattern | None, block: int) -> ProductLayer:
        """Return the weights of a layer and what goes with them."""
        layer, group, rows = node.layer, self.config.group_size, self.config.rows
        if node.name not in self.shapes:  # a convolution in groups, as one whole matrix: zeros are its pattern
            weights = unpack(layer.packed)
            packed = pack(weights, worthwhile(Pattern.infer(weights, block, group)), rows=rows, layer=node.name)
        else:
            if pattern is None:
                pattern = Pattern.dense(layer.packed.shape, block, group)
            packed = draw_packed(worthwhile(regroup(pattern, self.existing(node.name), block)), rows, seed=zlib.crc32(node.name.encode()))
        return dataclasses.replace(layer, packed=packed)

    def existing(self, name: str) -> np.ndarray:
        """Return how many weights of every group of K exist; the others are padding."""
        ones = to_matrix(np.ones((1, *self.shapes[name][1:]), np.uint8), self.config.group_size)
        counts: np.ndarray = ones.reshape(-1, self.config.group_size).sum(axis=1)
        return counts


def shape_of(node: FloatProduct) -> tuple[int, int, int, int]:
    """Return [O, C, kh, kw] of a product."""
    outputs, channels, height, width = node.weight.shape
    return outputs, channels, height, width


def matrix_shape(shape: tuple[int, int, int, int], group: int) -> tuple[int, int]:
    """Return (O, K) of weights [O, C, kh, kw]."""
    return shape[0], to_matrix(np.ones((1, *shape[1:]), np.uint8), group).shape[1]


def regroup(pattern: Pattern, existing: np.ndarray, block: int) -> Pattern:
    """Return the pattern that the compiler finds in weights with ``pattern``, when it looks through them in blocks of ``block``.

    Parameters
    ----------
    pattern : Pattern
        In blocks of its own.
    existing : ndarray
        [groups]: weights of every group of K that are not padding.
    block : int
        B.
    """
    unit = math.gcd(pattern.block, block)
    room = np.minimum(np.repeat(pattern.n, pattern.column_groups, axis=1), existing)  # [block rows, groups]
    room = np.repeat(room, pattern.block // unit, axis=0)[: -(-pattern.shape[0] // unit)]
    blank = Pattern.dense(pattern.shape, block, pattern.group)
    padded = np.zeros((blank.block_rows * (block // unit), blank.block_columns * blank.block_groups), room.dtype)
    padded[: room.shape[0], : room.shape[1]] = room
    n = padded.reshape(blank.block_rows, block // unit, blank.block_columns, blank.block_groups).max(axis=(1, 3))
    return Pattern.level(n, pattern.shape, block, pattern.group)


def draw_packed(pattern: Pattern, rows: int, seed: int) -> PackedWeights:
    """Return packed weights of a pattern, the first N of every group.

    Values are drawn, as equal bytes would be loaded once for all who have them; and small, so that no sum leaves int32.
    """
    tiles = schedule(pattern, rows)
    slots = np.concatenate([slots for _, slots, _ in tiles]).astype(np.uint8)
    return PackedWeights.of(
        pattern,
        values=np.random.default_rng([seed, slots.size]).integers(1, 8, (slots.size, rows), np.int8),
        offsets=np.broadcast_to(slots[:, None], (slots.size, rows)),
    )
