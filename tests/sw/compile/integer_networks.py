"""Networks of integers made node by node, small and fast: what the scheduler's tests compile."""

import numpy as np

from crisp.arch import Config, Pattern, ProductLayer, pack
from crisp.arch.program import Program
from crisp.compile.chunks import cut
from crisp.compile.compile import Compilation, schedule_network
from crisp.compile.operator import Operator
from crisp.compile.plan import Plan
from crisp.compile.selection import select_operators
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
    exact_product,
    to_matrix,
)
from crisp.golden.machine import run_program

__all__ = ["Builder", "check_program", "plan_of", "random_network", "select"]

#: 2^15, the smallest multiplier: a scale of 2^(15 - shift).
UNIT = 1 << 15


class Builder:
    """Appends nodes with random weights; each method returns the name of its result.

    Parameters
    ----------
    config : Config
        The machine.
    image : tuple of int
        Height, width and channels of the input.
    seed : int
        Seed of weights, scales and zero points.
    """

    def __init__(self, config: Config, image: tuple[int, int, int], seed: int = 0):
        self.config, self.image = config, image
        self.random = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.shapes = {"input": image}

    def network(self) -> Network:
        """Return the network of all nodes."""
        return Network(
            name="net", nodes=self.nodes, input_scale=1.0, input_zero_point=0, output_scale=1.0, output_zero_point=0, image=self.image
        )

    def images(self, seed: int = 1, batch: int = 1) -> np.ndarray:
        """Return random images, int8 [N, H, W, C]."""
        return np.random.default_rng(seed).integers(-128, 128, (batch, *self.image)).astype(np.int8)

    def append(self, node: Node, window: Window | None, channels: int) -> str:
        """Append a node whose result has ``channels`` channels, and pixels as ``window`` leaves them."""
        height, width, _ = self.shapes[node.inputs[0]]
        self.nodes.append(node)
        self.shapes[node.name] = (*(window.output_size(height, width) if window is not None else (height, width)), channels)
        return node.name

    def name(self, kind: str) -> str:
        """Return a new name."""
        return f"{kind}{len(self.nodes)}"

    def point(self) -> int:
        """Return a zero point."""
        return int(self.random.integers(-6, 7))

    def conv(self, source: str, channels: int, *, density: float = 1.0, block: int | None = None, **geometry: tuple[int, int]) -> str:
        """Append a convolution; ``density`` is the share of blocks that are kept, at N = 2 where there is less than all."""
        inputs = self.shapes[source][2]
        convolution = Convolution(channels=inputs, **geometry)
        weights = self.random.integers(-127, 128, (channels, inputs, *convolution.kernel)).astype(np.int8)
        matrix, group = to_matrix(weights, self.config.group_size), self.config.group_size
        block = block or max(16, self.config.rows)
        pattern = Pattern.dense(matrix.shape, block, group)
        if density < 1:
            kept = np.zeros(pattern.n.shape, bool)
            number = max(1, round(density * kept.shape[1]))
            for row in kept:
                row[self.random.choice(len(row), number, replace=False)] = True
            pattern = Pattern.from_kept(kept, matrix.shape, block, group, min(2, group))
            room = np.repeat(np.repeat(kept, block, axis=0), block, axis=1)[: matrix.shape[0], : matrix.shape[1]]
            matrix = np.where(room & (np.arange(matrix.shape[1]) % group < 2), matrix, 0).astype(np.int8)
        name = self.name("conv")
        shift = 15 + max(5, int(np.ceil(np.log2(np.sqrt(max(1, np.count_nonzero(matrix) / channels)) * 90))))
        layer = ProductLayer(
            name=name,
            packed=pack(matrix, pattern, rows=self.config.rows, layer=name),
            bias=self.random.integers(-2000, 2000, channels).astype(np.int32),
            multiplier=self.random.integers(UNIT, 2 * UNIT, channels).astype(np.uint16),
            shift=np.full(channels, shift, np.uint8),
            output_zero_point=self.point(),
        )
        node = Product(name=name, inputs=(source,), layer=layer, convolution=convolution, input_zero_point=self.point())
        return self.append(node, convolution, channels)

    def depthwise(self, source: str, **geometry: tuple[int, int]) -> str:
        """Append a depthwise convolution."""
        channels = self.shapes[source][2]
        convolution = Convolution(channels=channels, groups=channels, **geometry)
        taps = convolution.kernel[0] * convolution.kernel[1]
        node = GroupedProduct(
            name=self.name("depthwise"),
            inputs=(source,),
            weights=self.random.integers(-127, 128, (channels, taps)).astype(np.int8),
            bias=self.random.integers(-2000, 2000, channels).astype(np.int32),
            multiplier=self.random.integers(UNIT, 2 * UNIT, channels).astype(np.uint16),
            shift=np.full(channels, 23, np.uint8),
            convolution=convolution,
            input_zero_point=self.point(),
            output_zero_point=self.point(),
        )
        return self.append(node, convolution, channels)

    def maximum(self, source: str, **geometry: tuple[int, int]) -> str:
        """Append a max pooling."""
        window = Window(**geometry)
        return self.append(MaxPool(name=self.name("max"), inputs=(source,), window=window), window, self.shapes[source][2])

    def average(self, source: str, **geometry: tuple[int, int]) -> str:
        """Append an average pooling."""
        window = Window(**geometry)
        node = AveragePool(
            name=self.name("average"), inputs=(source,), window=window, input_zero_point=self.point(), multiplier=UNIT, shift=17
        )
        return self.append(node, window, self.shapes[source][2])

    def global_average(self, source: str) -> str:
        """Append a global average pooling."""
        height, width, channels = self.shapes[source]
        node = GlobalAveragePool(
            name=self.name("mean"),
            inputs=(source,),
            pixels=height * width,
            input_zero_point=self.point(),
            multiplier=min(2 * UNIT - 1, 2 * UNIT // (height * width) * 16 | UNIT),
            shift=19,
        )
        name = self.append(node, None, channels)
        self.shapes[name] = (1, 1, channels)
        return name

    def add(self, first: str, second: str) -> str:
        """Append a sum."""
        node = Add(
            name=self.name("add"),
            inputs=(first, second),
            zero_points=(self.point(), self.point()),
            multipliers=(int(self.random.integers(10000, 30000)), int(self.random.integers(10000, 30000))),
            shift=15,
            output_zero_point=self.point(),
        )
        return self.append(node, None, self.shapes[first][2])

    def table(self, source: str) -> str:
        """Append a table."""
        table = self.random.integers(-128, 128, 256).astype(np.int8)
        return self.append(Table(name=self.name("table"), inputs=(source,), table=table), None, self.shapes[source][2])


def random_network(config: Config, seed: int, *, length: int = 6) -> Builder:
    """Return a network of random nodes in a chain with shortcuts, with a sum wherever an earlier tensor has the right shape."""
    random = np.random.default_rng(seed)
    channels = int(random.choice([1, 3, 4, 8]))
    net = Builder(config, (int(random.integers(7, 15)), int(random.integers(6, 15)), channels), seed)
    last = "input"
    for _ in range(length):
        height, width, channels = net.shapes[last]
        kernel = int(random.choice([1, 3])) if min(height, width) >= 3 else 1
        stride = int(random.choice([1, 1, 2])) if min(height, width) > 4 else 1
        window = {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": (kernel // 2, kernel // 2)}
        match random.choice(["conv", "conv", "conv", "depthwise", "max", "average", "table"]):
            case "conv":
                outputs = int(random.choice([4, 8, 12, 20]))
                last = net.conv(last, outputs, density=float(random.choice([1.0, 0.5])), **window)
            case "depthwise":
                last = net.depthwise(last, **window)
            case "max":
                last = net.maximum(last, **window)
            case "average":
                last = net.average(last, **window)
            case "table":
                last = net.table(last)
        others = [name for name, shape in net.shapes.items() if shape == net.shapes[last] and name != last]
        if others and random.integers(3):
            last = net.add(last, others[int(random.integers(len(others)))])
    match random.choice(["nothing", "mean", "linear"]):
        case "mean":
            net.conv(net.global_average(last), 5)
        case "linear":
            net.conv(last, 6, kernel=net.shapes[last][:2])
    return net


def check_program(net: Builder, config: Config, batch: int = 1) -> Compilation:
    """Compile a network, hold its program against its own checks, run it on the golden machine, and compare; return what was decided."""
    network, images = net.network(), net.images(batch=batch)
    compilation = schedule_network(network, config, net.image, batch=batch)
    program = Program.from_bytes(compilation.program.to_bytes())
    program.check()
    (output,) = run_program(program, {program.inputs[0].name: images}).values()
    expected = np.concatenate([network.run(images[number : number + 1], product=exact_product) for number in range(batch)])
    np.testing.assert_array_equal(output.reshape(expected.shape), expected)
    return compilation


def select(net: Builder) -> list[Operator]:
    """Return the operators of a network in the order of its nodes."""
    return select_operators(net.network(), net.image, net.config)[1]


def plan_of(net: Builder) -> Plan:
    """Return what the choice of segments begins with."""
    source, operators = select_operators(net.network(), net.image, net.config)
    tensors = {source.name: source}
    for operator in operators:
        tensors |= {operator.source.name: operator.source, operator.output.name: operator.output}
    chunks = {operator.name: cut(operator, net.config) for operator in operators}
    return Plan(operators, chunks, (source,), (operators[-1].output,), tensors, net.config)
