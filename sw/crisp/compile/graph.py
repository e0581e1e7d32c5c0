"""The compiler's graph: nodes that compute tensors, at three levels, each with rules that `Graph.verify` checks after every pass.

A graph begins as the ONNX model says (`Level.FLOAT`), becomes one of integers (`Level.INTEGER`) when quantize and dequantize nodes have
been fused into what stands between them, and one of integers in fixed point (`Level.FIXED`) when scales have become multipliers and shifts.
"""

import dataclasses
import enum
from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import CompileError

__all__ = ["Graph", "Level", "Node", "Quantization", "Tensor"]


class Level(enum.IntEnum):
    """How far a graph has come."""

    FLOAT = 0  #: As in the ONNX model: real numbers, quantized and dequantized again between the nodes.
    INTEGER = 1  #: Tensors are integers with a scale and a zero point.
    FIXED = 2  #: Scales are multipliers and shifts, zero points are in the bias, weights have patterns.


@dataclasses.dataclass(frozen=True, eq=False)
class Quantization:
    """Meaning of integers: ``real = scale * (integer - zero_point)``.

    Parameters
    ----------
    scale : ndarray
        float64, of shape () or one for each index along ``axis``.
    zero_point : int
        Integer that means 0.
    axis : int
        Axis of the tensor that ``scale`` runs along when it has more than one.
    """

    scale: np.ndarray
    zero_point: int
    axis: int = 0

    def same(self, other: "Quantization") -> bool:
        """Tell whether both give every integer the same meaning."""
        return self.zero_point == other.zero_point and np.array_equal(self.scale, other.scale)

    def scale_along(self, rank: int) -> np.ndarray:
        """Return the scale in a shape that broadcasts against a tensor of ``rank`` axes."""
        return self.scale.reshape([-1 if axis == self.axis and self.scale.size > 1 else 1 for axis in range(rank)])

    def to_levels(self, value: np.ndarray) -> np.ndarray:
        """Return the int8 levels of real numbers, rounded half to even and clamped."""
        levels = np.rint(value.astype(np.float64) / self.scale_along(value.ndim)) + self.zero_point
        return np.clip(levels, -128, 127).astype(np.int8)

    def to_reals(self, levels: np.ndarray) -> np.ndarray:
        """Return the float64 numbers that integers mean."""
        return (levels.astype(np.float64) - self.zero_point) * self.scale_along(levels.ndim)


@dataclasses.dataclass
class Tensor:
    """A value that nodes compute or use.

    Parameters
    ----------
    name : str
        Its one name.
    shape : tuple of int
        Size along each axis; images are [N, C, H, W].
    dtype : dtype
        Type of its elements.
    value : ndarray, optional
        What it is, when it is a constant.
    quantization : Quantization, optional
        What its integers mean.
    unsigned : bool
        Whether the model has it as uint8, which are 128 more.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    value: np.ndarray | None = None
    quantization: Quantization | None = None
    unsigned: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclasses.dataclass
class Node:
    """An operation.

    Parameters
    ----------
    name : str
        Its one name.
    operation : str
        What it does: ONNX's name of it.
    inputs : list of str
        Names of tensors; empty where an optional one is left out.
    output : str
        Name of the tensor that it computes.
    attributes : dict
        Settings, by ONNX's names; passes add their own.
    """

    name: str
    operation: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Graph:
    """Nodes in an order in which each has its inputs.

    Parameters
    ----------
    name : str
        Name for reports.
    nodes : list of Node
        Operations.
    tensors : dict
        All tensors, by name.
    input, output : str
        Names of the tensor that goes in and of the one that comes out.
    metadata : dict
        Text by name, as the model carries it.
    level : Level
        Which rules hold.
    """

    name: str
    nodes: list[Node]
    tensors: dict[str, Tensor]
    input: str
    output: str
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    level: Level = Level.FLOAT

    def producer(self, name: str) -> Node | None:
        """Return the node that computes a tensor; none computes constants and the input."""
        return next((node for node in self.nodes if node.output == name), None)

    def consumers(self, name: str) -> list[Node]:
        """Return the nodes that use a tensor, in order."""
        return [node for node in self.nodes if name in node.inputs]

    def only_consumer(self, name: str) -> Node | None:
        """Return the node that uses a tensor, when nothing else does, the graph's output included."""
        consumers = self.consumers(name)
        return consumers[0] if len(consumers) == 1 and name != self.output else None

    def value(self, name: str) -> np.ndarray | None:
        """Return what a tensor is, when it is a constant that stands in the model."""
        return self.tensors[name].value if name else None

    def constant(self, name: str) -> np.ndarray:
        """Return what a tensor is that must be a constant."""
        value = self.value(name)
        if value is None:
            raise CompileError(f"{name}: must be constant")
        return value

    def meaning(self, name: str) -> Quantization:
        """Return what the integers of a tensor mean that must be quantized."""
        quantization = self.tensors[name].quantization
        if quantization is None:
            raise CompileError(f"{name}: must be quantized")
        return quantization

    def reals(self, name: str) -> np.ndarray | None:
        """Return the float64 numbers of a constant, or of one that is dequantized; None of a tensor that is computed."""
        producer = self.producer(name)
        if producer is not None and producer.operation == "DequantizeLinear":
            levels = self.value(producer.inputs[0])
            return None if levels is None else producer.attributes["quantization"].to_reals(levels)
        value = self.value(name)
        return None if value is None else value.astype(np.float64)

    def add_constant(self, name: str, value: np.ndarray, quantization: Quantization | None = None) -> str:
        """Add a constant under ``name``, or one like it that is free, and return its name."""
        free = self.free_name(name)
        self.tensors[free] = Tensor(free, value.shape, value.dtype, value, quantization)
        return free

    def free_name(self, name: str) -> str:
        """Return ``name`` with as many strokes as it takes to be no tensor's."""
        while name in self.tensors:
            name += "'"
        return name

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name, which no other has."""
        self.tensors[new] = dataclasses.replace(self.tensors.pop(old), name=new)
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
            node.output = new if node.output == old else node.output
        self.input, self.output = (new if name == old else name for name in (self.input, self.output))

    def bypass(self, node: Node) -> None:
        """Remove a node that does nothing: whoever used its output uses its first input."""
        source = node.inputs[0]
        for consumer in self.consumers(node.output):
            consumer.inputs = [source if name == node.output else name for name in consumer.inputs]
        if self.output == node.output:
            self.output = source
        self.nodes.remove(node)

    def remove_dead(self) -> None:
        """Remove nodes whose output nobody needs, and tensors that no node has."""
        needed = {self.output}
        alive = []
        for node in reversed(self.nodes):
            if node.output in needed:
                alive.append(node)
                needed.update(name for name in node.inputs if name)
        self.nodes = alive[::-1]
        needed.add(self.input)
        self.tensors = {name: tensor for name, tensor in self.tensors.items() if name in needed}

    def verify(self) -> None:
        """Check everything that holds at the graph's level.

        Names are used once and in order, each tensor has one origin, nothing is dead, shapes follow from the operations, types are those
        of the level, and quantization is known where it must be.

        Raises
        ------
        CompileError
            Naming node or tensor, and the rule. A pass made it so: a fault of the compiler, not of the model.
        """
        from .operations import OPERATIONS  # which needs the graph

        seen = {self.input} | {name for name, tensor in self.tensors.items() if tensor.value is not None}
        if self.input not in self.tensors or self.tensors[self.input].value is not None:
            raise CompileError(f"{self.name}: the input must be a tensor without a value, not {self.input!r}")
        check_unique(self.name, [node.name for node in self.nodes])
        for node in self.nodes:
            operation = OPERATIONS.get(node.operation)
            if operation is None or self.level not in operation.levels:
                raise CompileError(f"{node.name}: {node.operation} must not stand in a graph of level {self.level.name}")
            for name in filter(None, node.inputs):
                if name not in seen:
                    raise CompileError(f"{node.name}: input must be computed before its use, not {name!r}")
            if node.output in seen or node.output not in self.tensors:
                raise CompileError(f"{node.name}: output must be a tensor of its own, not {node.output!r}")
            seen.add(node.output)
            wanted, shape = operation.shape(node, self), self.tensors[node.output].shape
            if wanted != shape:
                raise CompileError(f"{node.name}: output must have shape {list(wanted)}, not {list(shape)}")
            for name in operation.attributes_at(self.level):
                if name not in node.attributes:
                    raise CompileError(f"{node.name}: {node.operation} must have {name} at level {self.level.name}")
        if self.output not in seen:
            raise CompileError(f"{self.name}: the output must be computed, but {self.output!r} is not")
        self.verify_tensors()

    def verify_tensors(self) -> None:
        """Check that every tensor is used and has the type and the quantization that the level wants."""
        used = {self.output, *(name for node in self.nodes for name in node.inputs)}
        for name, tensor in self.tensors.items():
            if name != tensor.name:
                raise CompileError(f"{tensor.name}: a tensor must be listed under its name, not under {name!r}")
            if name not in used:
                raise CompileError(f"{name}: a tensor must be used, or be the output; this one is dead")
            value = tensor.value
            if value is not None and (value.shape != tensor.shape or value.dtype != tensor.dtype):
                raise CompileError(f"{name}: value must be {tensor.dtype} {list(tensor.shape)}, not {value.dtype} {list(value.shape)}")
            if self.level >= Level.INTEGER:
                if tensor.dtype not in (np.int8, np.int32):
                    raise CompileError(f"{name}: must be int8 or int32 at level {self.level.name}, not {tensor.dtype}")
                if tensor.dtype == np.int8 and tensor.quantization is None:
                    raise CompileError(f"{name}: int8 must have a scale and a zero point at level {self.level.name}")


def check_unique(graph: str, names: Iterable[str]) -> None:
    """Check that each name of a node is used once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CompileError(f"{graph}: each node must have its own name, not again {name!r}")
        seen.add(name)
