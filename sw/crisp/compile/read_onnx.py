"""Reading an ONNX model into a graph, with everything that is not supported told at once.

A model is somebody else's: its size, its number of nodes and its tensors are bounded before they are used, nothing outside the file is
read, and every node is held against ONNX's schema and the table of what the machine has.

Some freedom of ONNX ends here. uint8 becomes int8: ``x - 128`` with a zero point less 128 means the same. Flatten, Squeeze and Unsqueeze
become Reshape, MatMul with a constant becomes Gemm, Dropout becomes Identity. A free number of images is taken as one.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from crisp.arch import LayerError

from .errors import CompileError
from .graph import Graph, Node, Tensor
from .operations import OPERATIONS
from .read_nodes import READERS, Unsupported

__all__ = ["MAX_BYTES", "MAX_NODES", "OLDEST_OPSET", "read_onnx"]

#: Largest file, number of nodes, and number of elements of a tensor.
MAX_BYTES = 2**30
MAX_NODES = 20_000
MAX_ELEMENTS = 2**30

#: First version of ONNX's operators with a scale for each channel.
OLDEST_OPSET = 13

TYPES: Mapping[int, np.dtype] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.INT8: np.dtype(np.int8),
    onnx.TensorProto.UINT8: np.dtype(np.int8),  # after a shift by 128
    onnx.TensorProto.INT32: np.dtype(np.int32),
    onnx.TensorProto.INT64: np.dtype(np.int64),
    onnx.TensorProto.BOOL: np.dtype(np.bool_),
}


def read_onnx(model: str | Path | bytes) -> Graph:
    """Read a model.

    Parameters
    ----------
    model : path or bytes
        File, or what is in it.

    Returns
    -------
    Graph
        At `Level.FLOAT`.

    Raises
    ------
    CompileError
        When the file is absent, too large, damaged, or refers to other files; when the model has not one input and one output of a
        known size; and, listing every such node, when a node is not supported.
    """
    data, name = (model, "model") if isinstance(model, bytes) else read_file(Path(model))
    if len(data) > MAX_BYTES:
        raise CompileError(f"{name}: a model must not exceed {MAX_BYTES} bytes, not {len(data)}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise CompileError(f"{name}: must be an ONNX model, but is damaged: {error}") from error
    return Reader(proto, name).read()


def read_file(path: Path) -> tuple[bytes, str]:
    """Return what is in a file, and its name without the ending."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CompileError(f"{path}: a model must not exceed {MAX_BYTES} bytes, not {size}")
        return path.read_bytes(), path.stem
    except OSError as error:
        raise CompileError(f"{path}: must be an ONNX model that can be read: {error.strerror}") from error


class Reader:
    """Builds a graph from a model, node by node, and collects what it does not support."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.model = model
        self.source = model.graph
        self.graph = Graph(model.graph.name or name, [], {}, "", "", {entry.key: entry.value for entry in model.metadata_props})
        self.problems: list[str] = []
        self.unknown: set[str] = set()  #: outputs of nodes with problems
        self.guesses: dict[str, onnx.TypeProto.Tensor] | None = None
        self.names: set[str] = set()  #: of nodes
        self.opset = 0

    def read(self) -> Graph:
        """Return the graph."""
        self.read_opset()
        self.check_limits()
        for tensor in self.source.initializer:
            self.add_constant(tensor.name, tensor)
        self.read_input()
        for number, node in enumerate(self.source.node):
            self.read_node(node, number)
        if self.problems:
            raise CompileError(
                f"{self.graph.name}: every node must be one that the machine has; these are not:\n  " + "\n  ".join(self.problems)
            )
        self.read_output()
        self.graph.remove_dead()
        if not self.graph.nodes:
            raise CompileError(f"{self.graph.name}: a model must have a node between input and output, not none")
        return self.graph

    def read_opset(self) -> None:
        """Find the version of the operators."""
        versions = [entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")]
        newest = onnx.defs.onnx_opset_version()
        if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
            raise CompileError(f"{self.graph.name}: the ONNX operators must be of one version, {OLDEST_OPSET} to {newest}, not {versions}")
        self.opset = versions[0]

    def check_limits(self) -> None:
        """Refuse what is too large, and what is outside the file or the graph."""
        if len(self.source.node) > MAX_NODES:
            raise CompileError(f"{self.graph.name}: a model must not exceed {MAX_NODES} nodes, not {len(self.source.node)}")
        if self.source.sparse_initializer:
            raise CompileError(f"{self.graph.name}: constants must be dense, but {self.source.sparse_initializer[0].values.name} is sparse")

    def add_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        """Add a constant."""
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise CompileError(f"{name}: constants must be in the file of the model, not in another; save it without external data")
        if name in self.graph.tensors or not name:
            raise CompileError(f"{self.graph.name}: each tensor must have its own name, not again {name!r}")
        dtype = TYPES.get(tensor.data_type)
        if dtype is None:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in onnx.TensorProto.DataType.values() else "unknown"
            raise CompileError(f"{name}: constants must be float32, int8, uint8, int32, int64 or bool, not {kind}")
        self.check_size(name, tuple(tensor.dims))
        try:
            value = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise CompileError(f"{name}: the constant must have as many elements as its shape {list(tensor.dims)}: {error}") from error
        unsigned = value.dtype == np.uint8
        value = (value ^ 0x80).view(np.int8) if unsigned else value.astype(dtype, copy=False)
        self.graph.tensors[name] = Tensor(name, value.shape, dtype, value, unsigned=unsigned)

    def check_size(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse a tensor that is too large."""
        size = 1
        for length in shape:
            size *= length
        if size > MAX_ELEMENTS or min(shape, default=1) < 0 or len(shape) > 8:
            raise CompileError(f"{name}: a tensor must have at most 8 axes and {MAX_ELEMENTS} elements, not {list(shape)}")

    def read_input(self) -> None:
        """Find the one input that is not a constant."""
        inputs = [value for value in self.source.input if value.name not in self.graph.tensors]
        if len(inputs) != 1:
            raise CompileError(f"{self.graph.name}: a model must have one input, not {', '.join(value.name for value in inputs) or 'none'}")
        (value,) = inputs
        kind = value.type.tensor_type
        dims = [axis.dim_value for axis in kind.shape.dim]
        shape = (dims[0] or 1, *dims[1:]) if dims else ()
        if len(shape) not in (2, 4) or min(shape) < 1:
            raise CompileError(
                f"{value.name}: the input must be [N, C, H, W] or [N, C] of which at most N is free, not {dims}; "
                f"export the model for images of one size"
            )
        if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
            raise CompileError(f"{value.name}: the input must be float32, int8 or uint8")
        self.check_size(value.name, shape)
        unsigned = kind.elem_type == onnx.TensorProto.UINT8
        self.graph.tensors[value.name] = Tensor(value.name, shape, TYPES[kind.elem_type], unsigned=unsigned)
        self.graph.input = value.name

    def read_output(self) -> None:
        """Find the one output."""
        names = [value.name for value in self.source.output]
        if len(names) != 1:
            raise CompileError(f"{self.graph.name}: a model must have one output, not {', '.join(names) or 'none'}")
        self.graph.output = self.source.output[0].name
        if self.graph.output not in self.graph.tensors:
            raise CompileError(f"{self.graph.name}: the output must be computed, but {self.graph.output!r} is not")

    def read_node(self, proto: onnx.NodeProto, number: int) -> None:
        """Add a node to the graph, or the reason why not to the problems."""
        outputs = [name for name in proto.output if name]
        label = proto.name or (outputs[0] if outputs else f"node {number}")
        try:
            for name in outputs:
                if name in self.graph.tensors or name in self.unknown:
                    raise CompileError(f"{self.graph.name}: each tensor must have its own name, not again {name!r}")
            self.check_schema(proto)
            missing = [name for name in proto.input if name and name not in self.graph.tensors]
            if missing and not all(name in self.unknown for name in missing):
                raise CompileError(f"{label}: input must be computed before its use, not {missing[0]!r}")
            if missing:
                self.unknown.update(outputs)  # the reason has been told at its input
                return
            if proto.op_type == "Constant":
                self.read_constant(proto)
                return
            node = self.make_node(proto, label)
            self.graph.nodes.append(node)
        except (Unsupported, LayerError) as reason:
            self.problems.append(f"{label}: {reason}")
            self.unknown.update(outputs)
            self.guess(outputs)

    def check_schema(self, proto: onnx.NodeProto) -> None:
        """Refuse an operation that is not in the table, or not as ONNX's schema wants it."""
        if proto.domain not in ("", "ai.onnx"):
            raise Unsupported(f"{proto.domain}.{proto.op_type} is not one of ONNX's own operations")
        if proto.op_type != "Constant" and proto.op_type not in READERS:
            raise Unsupported(f"{proto.op_type} is not an operation that the machine has")
        context = onnx.checker.C.CheckerContext()
        context.ir_version = self.model.ir_version
        context.opset_imports = {"": self.opset}
        try:
            onnx.checker.check_node(proto, context)
        except onnx.checker.ValidationError as error:
            raise Unsupported(f"{proto.op_type} must be as ONNX defines it: {str(error).splitlines()[0]}") from error
        if any(proto.output[1:]):
            raise Unsupported(f"{proto.op_type} must have one output, not {', '.join(proto.output)}")

    def guess(self, outputs: list[str]) -> None:
        """Take the shapes behind an unsupported node from ONNX's own inference, so that the nodes after it are checked as well."""
        if self.guesses is None:
            try:
                inferred = onnx.shape_inference.infer_shapes(self.model)
                self.guesses = {value.name: value.type.tensor_type for value in inferred.graph.value_info}
            except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
                self.guesses = {}
        for name in outputs:
            found = self.guesses.get(name)
            if found is not None and found.elem_type in TYPES and found.HasField("shape"):
                shape = tuple(axis.dim_value or 1 for axis in found.shape.dim)
                self.graph.tensors[name] = Tensor(name, shape, TYPES[found.elem_type])

    def read_constant(self, proto: onnx.NodeProto) -> None:
        """Add what a Constant node holds."""
        attribute = proto.attribute[0]
        if attribute.name == "value":
            self.add_constant(proto.output[0], attribute.t)
            return
        kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if attribute.name not in kinds:
            raise Unsupported(f"Constant must hold numbers, not {attribute.name}")
        value = np.array(onnx.helper.get_attribute_value(attribute), kinds[attribute.name])
        self.add_constant(proto.output[0], onnx.numpy_helper.from_array(value))

    def make_node(self, proto: onnx.NodeProto, label: str) -> Node:
        """Return the node that ``proto`` says, and add its output."""
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.attribute}
        node = Node(self.free_name(label), proto.op_type, list(proto.input), proto.output[0], attributes)
        READERS[proto.op_type](node, self.graph)
        try:
            shape = OPERATIONS[node.operation].shape(node, self.graph)
        except CompileError as error:
            raise Unsupported(str(error).removeprefix(f"{node.name}: ")) from error
        self.check_size(node.output, shape)
        source = self.graph.tensors[node.inputs[0]]
        dtype, unsigned = (node.attributes.pop(name, getattr(source, name)) for name in ("dtype", "unsigned"))
        self.graph.tensors[node.output] = Tensor(node.output, shape, dtype, unsigned=unsigned)
        return node

    def free_name(self, name: str) -> str:
        """Return a name that no node has yet."""
        while name in self.names:
            name += "'"
        self.names.add(name)
        return name
