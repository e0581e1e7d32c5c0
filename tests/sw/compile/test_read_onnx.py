"""What is no model, what is too large, and what the machine does not have: told by name, all at once, before anything is computed."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.sw.compile.foreign import Model

from crisp.arch import Config
from crisp.compile import CompileError, import_onnx
from crisp.compile.read_onnx import read_onnx


def refuse(model: bytes | str | Path) -> str:
    with pytest.raises(CompileError) as caught:
        import_onnx(model, Config())
    return str(caught.value)


def small(**changes: object) -> onnx.ModelProto:
    """Return a model that can be compiled, to be spoilt."""
    model = Model([1, 3, 5, 5])
    return onnx.load_model_from_string(model.bytes(model.quantize(model.node("Conv", model.quantize("x"), model.weight(4, 3, 3, 3)))))


def test_small_model_is_right() -> None:
    import_onnx(small().SerializeToString(), Config())


def test_every_unsupported_node_is_listed() -> None:
    model = Model(["N", 3, 8, 8])
    x = model.quantize("x")
    y = model.node("Conv", x, model.node("Exp", model.weight(4, 3, 3, 3)), group=1)
    y = model.node("Softmax", y)
    y = model.node("MaxPool", model.quantize(y), kernel_shape=[2, 2], ceil_mode=1)
    z = model.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    z = model.node("Gemm", model.node("Flatten", z, axis=2), model.weight(64, 5), alpha=0.5)
    z = model.node("ReduceMean", x, axes=[1])
    text = refuse(model.bytes(z))
    assert text.splitlines() == [
        "model: every node must be one that the machine has; these are not:",
        "  Exp3: Exp is not an operation that the machine has",
        "  Softmax5: Softmax is not an operation that the machine has",
        "  MaxPool8: MaxPool must have ceil_mode 0, not 1; give the padding instead",
        "  AveragePool9: AveragePool must have count_include_pad 1, not 0: where there is padding, it must count",
        "  Flatten10: Flatten must have axis 1, not 2",
        "  Gemm12: Gemm must have alpha 1, not 0.5",
        "  ReduceMean13: ReduceMean must be over the axes 2 and 3 of [N, C, H, W], not [1] of 4",
    ]


def test_every_node_outside_quantization_is_listed() -> None:
    model = Model(["N", 3, 8, 8])
    x = model.quantize("x")
    a = model.node("Conv", x, model.weight(3, 3, 3, 3), pads=[1] * 4)
    b = model.node("Conv", a, model.weight(3, 3, 3, 3), pads=[1] * 4)
    c = model.node("Conv", model.quantize(model.node("Relu", "x")), model.floats(3, 3, 1, 1))
    d = model.node("Add", x, model.constant(np.ones((1, 3, 1, 1)), np.float32))
    e = model.quantize(model.node("Mul", x, x))
    f = model.node("GlobalAveragePool", model.node("Add", b, a))
    g = model.node("Add", model.node("Add", c, d), e)
    f = model.node("Add", model.node("GlobalAveragePool", g), f)
    text = refuse(model.bytes(model.quantize(f)))
    assert text.splitlines() == [
        "model: all that is computed must stand between DequantizeLinear and QuantizeLinear; this does not:",
        "  Conv3: Conv must be followed by QuantizeLinear, not by Conv, Add",
        "  Relu6: Relu must take quantized tensors, but 'x' is not",
        "  Add10: Add must take quantized tensors, but 'c11' is not",
        "  Mul11: Mul must be of a tensor and its own Sigmoid or HardSigmoid",
    ]


CASES = {
    "computed weights": ("Conv", ["x", "x"], {}, "Conv must have int8 constants for weights, but 't1' is computed"),
    "constant summand": ("Add", ["x", "w3"], {}, "Add must be of two tensors that are computed, not of one and a constant"),
    "broadcast": ("Add", ["x", "p"], {}, "Add must be of two tensors of one shape, not [1, 3, 3, 3] and [1, 3, 1, 1]"),
    "wide weights": ("Conv", ["x", "u"], {}, "Conv must have weights that stay in int8 without their zero point, 100"),
    "wrong axis": ("Conv", ["x", "a"], {}, "Conv must have weights with a scale for each output, not along axis 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_quantization_makes_impossible(case: str) -> None:
    kind, inputs, attributes, reason = CASES[case]
    model = Model([1, 3, 3, 3])
    x = model.quantize("x")
    scale = model.constant(0.1, np.float32)
    names = {
        "x": x,
        "p": model.quantize(model.node("GlobalAveragePool", x)),
        "w3": model.weight(1, 3, 3, 3),
        "u": model.node("DequantizeLinear", model.constant(np.full((3, 3, 1, 1), -90, np.int8)), scale, model.constant(100, np.int8)),
        "a": model.weight(2, 3, 1, 1, axis=1),
    }
    if case == "computed weights":
        model.shape = [3, 3, 3, 3]
    text = refuse(model.bytes(model.quantize(model.node(kind, *(names[name] for name in inputs), **attributes))))
    assert text.endswith(f": {reason}"), text


def test_shapes_that_do_not_fit() -> None:
    model = Model([1, 3, 4, 4])
    x = model.quantize("x")
    y = model.node("Conv", x, model.weight(4, 2, 3, 3))
    y = model.node("Conv", x, model.weight(4, 3, 5, 5))
    y = model.node("Reshape", y, model.constant([3, 5], np.int64))
    y = model.node("MatMul", x, model.weight(4, 4))
    y = model.node("Conv", x, model.weight(4, 3, 3, 3), model.floats(3))
    assert refuse(model.bytes(y)).splitlines()[1:] == [
        "  Conv3: weights [4, 2, 3, 3] in 1 groups must fit 3 input channels",
        "  Conv5: kernel (5, 5) must fit the padded input, which is 4 pixels",
        "  Reshape6: [1, 4, 1, 1] must have as many elements as [3, 5]",
        "  MatMul8: MatMul must be of two matrices, not [1, 3, 4, 4] and [4, 4]",
        "  Conv10: bias must be [4], not [3]",
    ]


def test_image_in_another_shape() -> None:
    model = Model([1, 3, 4, 4])
    x = model.node("Reshape", model.quantize("x"), model.constant([1, 12, 2, 2], np.int64))
    text = refuse(model.bytes(model.quantize(model.node("GlobalAveragePool", x))))
    assert text == "Reshape2: [1, 3, 4, 4] must only be flattened for a linear layer, not become [1, 12, 2, 2]"


def test_batch_norm_alone() -> None:
    model = Model([1, 3, 4, 4])
    parameters = [model.floats(3, low=0.1) for _ in range(4)]
    text = refuse(model.bytes(model.quantize(model.node("BatchNormalization", model.quantize("x"), *parameters))))
    assert text == "BatchNormalization2: BatchNormalization must follow a convolution that nothing else uses"


def test_scales_beyond_the_multiplier() -> None:
    model = Model([1, 3, 4, 4])
    text = refuse(model.bytes(model.quantize(model.node("GlobalAveragePool", model.quantize("x", 1e6)), 1e-4)))
    assert text.startswith("GlobalAveragePool2: scales must be positive and less than 65535.5, not 62500")


def test_bias_beyond_int32() -> None:
    model = Model([1, 3, 4, 4])
    bias = model.constant([1e9, 0], np.float32)
    text = refuse(model.bytes(model.quantize(model.node("Conv", model.quantize("x", 1e-3), model.weight(2, 3, 1, 1), bias))))
    assert "must have a bias that fits int32 in units of input scale x weight scale" in text


@pytest.mark.parametrize("block", ["-1", "many", ""])
def test_block_in_metadata(block: str) -> None:
    model = small()
    helper.set_model_props(model, {"crisp.block": block})
    assert refuse(model.SerializeToString()) == f"model: crisp.block in the model's metadata must be a number, not {block!r}"


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert refuse(path) == f"{path}: must be an ONNX model that can be read: No such file or directory"
    path.write_bytes(b"this is not protobuf")
    assert refuse(str(path)).startswith("net: must be an ONNX model, but is damaged")
    path.write_bytes(small().SerializeToString())
    assert import_onnx(path, Config()).name == "model"


def test_truncated_and_flipped_files_are_refused_or_read() -> None:
    """Whatever a file holds, the outcome is a network or an error of ours."""
    data, random = small().SerializeToString(), np.random.default_rng(1)
    outcomes = set()
    for _ in range(300):
        broken = bytearray(data)
        if random.integers(3) == 0:
            del broken[int(random.integers(len(broken))) :]
        else:
            for place in random.integers(len(broken), size=int(random.integers(1, 4))):
                broken[place] ^= 1 << int(random.integers(8))
        try:
            read_onnx(bytes(broken))
            outcomes.add("read")
        except CompileError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = small().SerializeToString()
    monkeypatch.setattr("crisp.compile.read_onnx.MAX_NODES", 3)
    assert refuse(data) == "model: a model must not exceed 3 nodes, not 6"
    monkeypatch.setattr("crisp.compile.read_onnx.MAX_BYTES", 100)
    assert refuse(data) == f"model: a model must not exceed 100 bytes, not {len(data)}"
    (tmp_path / "a.onnx").write_bytes(data)
    assert refuse(tmp_path / "a.onnx") == f"{tmp_path}/a.onnx: a model must not exceed 100 bytes, not {len(data)}"


def spoil_external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def spoil_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[2].dims[:] = [2**20, 2**20]


def spoil_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[2].dims[:] = [4, 3, 3, 4]


def spoil_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float64(1), "c0"))


def spoil_sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().values.name = "few"


def spoil_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11


def spoil_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value")


def spoil_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))


def spoil_input_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def spoil_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nothing"


def spoil_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.add().CopyFrom(model.graph.output[0])


def spoil_order(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, model.graph.node.pop())


def spoil_names(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def spoil_domain(model: onnx.ModelProto) -> None:
    model.graph.node[3].domain = "com.microsoft"


def spoil_schema(model: onnx.ModelProto) -> None:
    model.graph.node[3].attribute.add().CopyFrom(helper.make_attribute("strides", "two"))


def spoil_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]
    model.graph.output[0].name = "x"


SPOILT = {
    spoil_external: "c0: constants must be in the file of the model, not in another; save it without external data",
    spoil_size: "c2: a tensor must have at most 8 axes and 1073741824 elements, not [1048576, 1048576]",
    spoil_data: "c2: the constant must have as many elements as its shape [4, 3, 3, 4]",
    spoil_type: "c0: constants must be float32, int8, uint8, int32, int64 or bool, not DOUBLE",
    spoil_sparse: "model: constants must be dense, but few is sparse",
    spoil_opset: "model: the ONNX operators must be of one version, 13 to ",
    spoil_input: "x: the input must be [N, C, H, W] or [N, C] of which at most N is free, not [1, 3, 0, 5]",
    spoil_inputs: "model: a model must have one input, not x, y",
    spoil_input_type: "x: the input must be float32, int8 or uint8",
    spoil_output: "model: the output must be computed, but 'nothing' is not",
    spoil_outputs: "model: a model must have one output, not t5, t5",
    spoil_order: "DequantizeLinear5: input must be computed before its use, not 't4'",
    spoil_names: "model: each tensor must have its own name, not again 't0'",
    spoil_domain: "com.microsoft.Conv is not one of ONNX's own operations",
    spoil_schema: "Conv must be as ONNX defines it: ",
    spoil_nodes: "model: a model must have a node between input and output, not none",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=[spoil.__name__ for spoil in SPOILT])
def test_spoilt_models(spoil) -> None:
    model = small()
    spoil(model)
    assert SPOILT[spoil] in refuse(model.SerializeToString())
