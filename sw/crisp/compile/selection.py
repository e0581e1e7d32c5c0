"""Selection: which node becomes which operator of the machine, and what is fused into one.

A sum is fused with the later of the two operators that compute what it adds, a table with the operator before it. What has no array
operation of its own is put in terms of one that exists: an average is a depthwise convolution with weights of 1, a global average a
product over planes instead of pixels, a sum or table that follows nothing the maximum of one word.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from crisp.arch import Config, PackedWeights, Pattern, ProductLayer, pack, unpack
from crisp.golden import (
    Add,
    AveragePool,
    Convolution,
    GlobalAveragePool,
    GroupedProduct,
    MaxPool,
    Network,
    Node,
    Product,
    Table,
    Window,
    from_matrix,
    to_matrix,
)

from .errors import CompileError
from .operator import Kind, Operator, Patches, Tensor

__all__ = ["select_operators"]


def select_operators(network: Network, image: tuple[int, int, int], config: Config) -> tuple[Tensor, list[Operator]]:
    """Turn a network into operators of the machine.

    Parameters
    ----------
    network : Network
        Integer network.
    image : tuple of int
        Height, width and channels of its input.
    config : Config
        The machine.

    Returns
    -------
    source : Tensor
        The input.
    operators : list of Operator
        In order.

    Raises
    ------
    CompileError
        When a node cannot run on the machine, with the reason.
    """
    selection = Selection(config, {network.input_name: Tensor(network.input_name, *image)})
    uses = {network.input_name: 0, **{node.name: 0 for node in network.nodes}}
    for node in network.nodes:
        for name in node.inputs:
            uses[name] += 1
    uses[network.nodes[-1].name] += 1
    for node in network.nodes:
        selection.add(node, uses)
    return selection.tensors[network.input_name], selection.operators


class Selection:
    """Operators selected so far.

    Parameters
    ----------
    config : Config
        The machine.
    tensors : dict
        Tensors by name; the input at first.
    """

    def __init__(self, config: Config, tensors: dict[str, Tensor]):
        self.config = config
        self.tensors = tensors
        self.operators: list[Operator] = []

    def add(self, node: Node, uses: dict[str, int]) -> None:
        """Select operators for ``node``."""
        if isinstance(node, Product):
            self.append(self.product(node, uses))
        elif isinstance(node, GroupedProduct):
            self.append(self.depthwise(node))
        elif isinstance(node, AveragePool):
            self.append(self.average(node))
        elif isinstance(node, GlobalAveragePool):
            self.append(self.global_average(node))
        elif isinstance(node, MaxPool):
            self.append(self.maximum(node.name, self.source(node), node.window))
        elif isinstance(node, Add):
            self.addition(node, uses)
        else:
            self.table(node, uses)

    def append(self, operator: Operator) -> None:
        """Take an operator, the next in order."""
        self.operators.append(operator)
        self.tensors[operator.output.name] = operator.output

    def replace(self, index: int, operator: Operator) -> None:
        """Take an operator in the place of another, whose result nobody else uses."""
        del self.tensors[self.operators[index].output.name]
        self.operators[index] = operator
        self.tensors[operator.output.name] = operator.output

    def source(self, node: Node) -> Tensor:
        """Return the first input of a node."""
        return self.tensors[node.inputs[0]]

    def output(self, name: str, source: Tensor, window: Window, channels: int) -> Tensor:
        """Return the result of a window over ``source``."""
        return Tensor(name, *window.output_size(source.height, source.width), channels)

    def product(self, node: Product, uses: dict[str, int]) -> Operator:
        """Select a convolution or linear layer."""
        source, convolution, layer = self.source(node), node.convolution, node.layer
        output = self.output(node.name, source, convolution, layer.num_channels)
        (height, width), (vertical, horizontal) = convolution.kernel, convolution.dilation
        per_pixel = layer.packed.shape[0] * convolution.channels * height * width
        macs = output.pixels * per_pixel
        kept = output.pixels * kept_weights(layer.packed.pattern, convolution)
        window, patches = Window(**{field.name: getattr(convolution, field.name) for field in dataclasses.fields(Window)}), None
        is_cut = node.inputs[0] == next(iter(self.tensors)) and uses[node.inputs[0]] == 1 and horizontal == 1
        if convolution.channels < self.config.group_size and not is_cut:
            layer = self.pad_channels(layer, convolution)
        elif convolution.channels < self.config.group_size:
            words = -(-width * convolution.channels // self.config.group_size)
            step, lead = convolution.stride[1] * convolution.channels, convolution.padding[1] * convolution.channels
            if step > 255 or lead > 255 or words > 15:
                raise CompileError(f"{node.name}: a patch must have at most 15 words, not {words}, and step and lead at most 255 bytes")
            patches = Patches(step, words, lead)
            source = Tensor(f"{source.name} patches", source.height, output.width, words * self.config.group_size)
            window = Window(
                kernel=(height, 1),
                stride=(convolution.stride[0], 1),
                padding=(convolution.padding[0], 0),
                dilation=(vertical, 1),
                padding_end=(convolution.borders[0][1], 0),
            )
            width = 1
        return Operator(
            name=node.name,
            kind=Kind.PRODUCT,
            source=source,
            output=output,
            window=window,
            taps=tuple((row * vertical, column * horizontal) for row in range(height) for column in range(width)),
            pad=node.input_zero_point,
            layer=layer,
            patches=patches,
            macs=macs,
            kept_macs=kept,
        )

    def pad_channels(self, layer: ProductLayer, convolution: Convolution) -> ProductLayer:
        """Return a layer of fewer than M channels with weights of 0 for the others: K is then one word a tap, as elsewhere.

        Only rows that are cut into patches while the image is loaded can have several taps in a word.
        """
        packed, group = layer.packed, self.config.group_size
        weights = from_matrix(unpack(packed), (packed.shape[0], convolution.channels, *convolution.kernel), group)
        matrix = to_matrix(np.pad(weights, ((0, 0), (0, group - convolution.channels), (0, 0), (0, 0))), group)
        pattern = Pattern.infer(matrix, packed.pattern.block, group)
        return dataclasses.replace(layer, packed=pack(matrix, pattern, rows=self.config.rows, layer=layer.name))

    def depthwise(self, node: GroupedProduct) -> Operator:
        """Select a depthwise convolution."""
        convolution = node.convolution
        if not convolution.channels == convolution.groups == node.num_channels:
            raise CompileError(
                f"{node.name}: a convolution with groups must have one input and one output channel a group, not "
                f"{convolution.channels} and {node.num_channels} in {convolution.groups} groups; use one group"
            )
        return self.channelwise(
            node, convolution, node.weights.reshape(-1, *convolution.kernel), node.bias, node.multiplier, node.shift, node.input_zero_point
        )

    def average(self, node: AveragePool) -> Operator:
        """Select an average pooling: a depthwise convolution with weights of 1."""
        channels = self.source(node).channels
        taps = node.window.kernel[0] * node.window.kernel[1]
        return self.channelwise(
            node,
            node.window,
            np.ones((channels, *node.window.kernel), np.int8),
            np.full(channels, -taps * node.input_zero_point, np.int32),
            np.full(channels, node.multiplier, np.uint16),
            np.full(channels, node.shift, np.uint8),
            node.input_zero_point,
        )

    def channelwise(
        self,
        node: GroupedProduct | AveragePool,
        window: Window,
        weights: np.ndarray,
        bias: np.ndarray,
        multiplier: np.ndarray,
        shift: np.ndarray,
        zero_point: int,
    ) -> Operator:
        """Select what treats every channel by itself.

        Row s M + c of a row tile is channel c of its plane, for the s-th of ``rows / M`` output rows one below the other. So all rows of
        the array are at work, and each word that is gathered serves several output rows.
        """
        group, rows = self.config.group_size, self.config.rows
        source = self.source(node)
        planes, shifts = source.planes(group), self.config.tile_words
        heights = sorted(
            {shift * window.stride[0] + row * window.dilation[0] for shift in range(shifts) for row in range(window.kernel[0])}
        )
        matrix = np.zeros((planes, shifts, group, len(heights), window.kernel[1], group), np.int8)
        padded = np.zeros((planes * group, *window.kernel), np.int8)
        padded[: source.channels] = weights
        for below in range(shifts):
            for row in range(window.kernel[0]):
                height = heights.index(below * window.stride[0] + row * window.dilation[0])
                for channel in range(group):
                    matrix[:, below, channel, height, :, channel] = padded[channel::group, row]

        def channels(values: np.ndarray) -> np.ndarray:
            """Repeat the values of a plane's channels for every output row."""
            whole = np.zeros(planes * group, values.dtype)
            whole[: source.channels] = values
            return np.repeat(whole.reshape(planes, 1, group), shifts, axis=1).reshape(-1)

        layer = ProductLayer(
            name=node.name,
            packed=self.pack_singles(matrix.reshape(planes * rows, -1), node.name),
            bias=channels(bias),
            multiplier=channels(multiplier),
            shift=channels(shift),
            output_zero_point=node.output_zero_point,
            clamp_min=node.clamp_min,
            clamp_max=node.clamp_max,
        )
        output = self.output(node.name, source, window, source.channels)
        macs = output.pixels * source.channels * window.kernel[0] * window.kernel[1]
        return Operator(
            name=node.name,
            kind=Kind.DEPTHWISE,
            source=source,
            output=output,
            window=Window(**{field.name: getattr(window, field.name) for field in dataclasses.fields(Window)}),
            taps=tuple((height, column * window.dilation[1]) for height in heights for column in range(window.kernel[1])),
            pad=zero_point,
            row_step=shifts,
            layer=layer,
            macs=macs,
            kept_macs=macs,
        )

    def pack_singles(self, matrix: np.ndarray, name: str) -> PackedWeights:
        """Pack a matrix in which each group of M has at most one weight, all blocks kept with N = 1."""
        block = max(16, self.config.rows)
        n = np.ones((-(-matrix.shape[0] // block), -(-matrix.shape[1] // block)), np.uint8)
        pattern = Pattern((matrix.shape[0], matrix.shape[1]), block, self.config.group_size, n)
        return pack(np.ascontiguousarray(matrix), pattern, rows=self.config.rows, layer=name)

    def global_average(self, node: GlobalAveragePool) -> Operator:
        """Select a global average: with planes as pixels, a row tile's first M rows sum the channels of a plane over its pixels."""
        source, group = self.source(node), self.config.group_size
        matrix = np.tile(np.eye(group, dtype=np.int8), (1, source.pixels))
        layer = ProductLayer(
            name=node.name,
            packed=self.pack_singles(matrix, node.name),
            bias=np.full(group, -node.pixels * node.input_zero_point, np.int32),
            multiplier=np.full(group, node.multiplier, np.uint16),
            shift=np.full(group, node.shift, np.uint8),
            output_zero_point=node.output_zero_point,
            clamp_min=node.clamp_min,
            clamp_max=node.clamp_max,
        )
        return Operator(
            name=node.name,
            kind=Kind.PLANES,
            source=source,
            output=Tensor(node.name, 1, 1, source.channels),
            window=Window(kernel=(source.height, source.width)),
            taps=tuple((0, pixel) for pixel in range(source.pixels)),
            pad=0,
            layer=layer,
        )

    def maximum(self, name: str, source: Tensor, window: Window) -> Operator:
        """Select a max pooling; with a window of one pixel, a copy."""
        return Operator(
            name=name,
            kind=Kind.MAX,
            source=source,
            output=self.output(name, source, window, source.channels),
            window=window,
            taps=tuple(
                (row * window.dilation[0], column * window.dilation[1])
                for row in range(window.kernel[0])
                for column in range(window.kernel[1])
            ),
            pad=-128,
        )

    def last_producer(self, names: Sequence[str]) -> int | None:
        """Return the index of the operator that computes the last of ``names``."""
        return max((index for index, operator in enumerate(self.operators) if operator.output.name in names), default=None)

    def addition(self, node: Add, uses: dict[str, int]) -> None:
        """Fuse a sum with the later of the operators that compute what it adds; or copy one of them and add the other."""
        a, b = (self.tensors[name] for name in node.inputs)
        if (a.height, a.width, a.channels) != (b.height, b.width, b.channels):
            raise CompileError(f"{node.name}: inputs must have one shape, not {a} and {b}")
        index = self.last_producer(node.inputs)
        fused = None if index is None else self.operators[index]
        is_free = fused is not None and uses[fused.output.name] == 1 and fused.residual is None and fused.table is None
        if fused is None or index is None or not is_free or fused.kind in (Kind.PLANES, Kind.DEPTHWISE) or node.inputs[0] == node.inputs[1]:
            self.append(self.maximum(f"{node.name} copy", a, Window()))
            index, fused = len(self.operators) - 1, self.operators[-1]
            first = 0
        else:
            first = node.inputs.index(fused.output.name)
        # The operator's result is the first input, the residual the second.
        other = 1 - first
        ordered = dataclasses.replace(
            node,
            inputs=(node.inputs[first], node.inputs[other]),
            zero_points=(node.zero_points[first], node.zero_points[other]),
            multipliers=(node.multipliers[first], node.multipliers[other]),
        )
        output = dataclasses.replace(fused.output, name=node.name)
        self.replace(index, dataclasses.replace(fused, name=node.name, output=output, residual=ordered.inputs[1], addition=ordered))

    def table(self, node: Table, uses: dict[str, int]) -> None:
        """Fuse a table with the operator before it; or copy its input through the table."""
        name = node.inputs[0]
        index = self.last_producer(node.inputs)
        if index is None or uses[name] != 1 or self.operators[index].table is not None:
            self.append(self.maximum(f"{node.name} copy", self.tensors[name], Window()))
            index = len(self.operators) - 1
        fused = self.operators[index]
        self.replace(
            index, dataclasses.replace(fused, name=node.name, output=dataclasses.replace(fused.output, name=node.name), table=node.table)
        )


def kept_weights(pattern: Pattern, convolution: Convolution) -> int:
    """Return how many weights a pattern leaves room for; what fills K up to whole groups is none."""
    ones = np.ones((1, convolution.channels, *convolution.kernel), np.int64)
    exist = to_matrix(ones, pattern.group).reshape(-1, pattern.group).sum(axis=1)
    room = np.repeat(np.repeat(pattern.n, pattern.block, axis=0), pattern.block_groups, axis=1)[: pattern.shape[0], : len(exist)]
    return int(np.minimum(room, exist).sum())
