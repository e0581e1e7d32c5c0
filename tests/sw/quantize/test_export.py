"""What the exported ONNX file says, and ``crisp quantize``."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console
from tests.sw.small import RESNET20, small_mobile, small_net, striped_dataset, striped_split

from crisp.arch import Config, Program
from crisp.compile import CompileError, import_onnx
from crisp.compile.command import CompileOptions, compile_file
from crisp.data import Normalization
from crisp.models import resnet20, save_checkpoint
from crisp.prune import PruneOptions, prune
from crisp.prune.storage import save_pruned
from crisp.quantize import Affine, QuantizedAdd, QuantizedModel, QuantizeError, export_onnx, quantize
from crisp.quantize.command import QuantizeFileOptions, quantize_file
from crisp.quantize.export import OPSET

IMAGES = striped_split(24, 4, 12, seed=0).images


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load_model_from_string(export_onnx(quantize(small_net(), IMAGES, name="small"), block=32, group=4))


def test_valid_onnx_with_shapes(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert (model.graph.name, model.opset_import[0].version) == ("small", OPSET)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"crisp.block": "32", "crisp.group": "4"}
    (image,), (output,) = model.graph.input, model.graph.output
    assert [axis.dim_value or axis.dim_param for axis in image.type.tensor_type.shape.dim] == ["N", 1, 12, 12]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert len(output.type.tensor_type.shape.dim) == 2
    assert inferred.graph.node[-1].op_type == "DequantizeLinear"


def test_program_knows_what_the_model_says_of_itself(tmp_path: Path) -> None:
    known = {"classes": ["a [b]", "ü", "c", "d"], "normalization": {"mean": [73.5], "deviation": [90]}}
    quantized = quantize(small_net(), IMAGES)
    options = CompileOptions(model=tmp_path / "a.onnx", output=tmp_path / "a.crisp", config="tiny")
    options.model.write_bytes(export_onnx(quantized, classes=known["classes"], normalization=Normalization((73.5,), (90,))))
    compile_file(options, Console(quiet=True))
    info = Program.load(options.output).info
    assert {name: info[name] for name in known} == known
    options.model.write_bytes(export_onnx(quantized))
    compile_file(options, Console(quiet=True))
    assert not known.keys() & Program.load(options.output).info.keys()


NAMES, NORMALIZATION = "a JSON list of printable names", 'JSON such as {"mean": [127], "deviation": [128]}'


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        *(("classes", text, NAMES) for text in ("a, b", '{"a": 1}', "[1]", '["\\u001b[31m"]', "[" * 100_000)),
        *(("normalization", text, NORMALIZATION) for text in ("3", '{"mean": [1]}', '{"mean": [1], "deviation": [0]}')),
        *(("normalization", text, NORMALIZATION) for text in ('{"mean": [1], "deviation": [NaN]}', '{"mean": 1, "deviation": 2}')),
        *(("normalization", text, NORMALIZATION) for text in ('{"mean": [], "deviation": []}', '{"mean": [true], "deviation": [1]}')),
    ],
)
def test_model_that_says_something_else_of_itself(model: onnx.ModelProto, tmp_path: Path, name: str, text: str, rule: str) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)
    wrong.metadata_props.add(key=f"crisp.{name}", value=text)
    (tmp_path / "a.onnx").write_bytes(wrong.SerializeToString())
    with pytest.raises(CompileError) as caught:
        compile_file(CompileOptions(model=tmp_path / "a.onnx", output=tmp_path / "a.crisp"), Console(quiet=True))
    assert str(caught.value) == f"small: crisp.{name} in the model's metadata must be {rule}, not {text!r:.80}; quantize it again"


def test_operations_stand_between_dequantization_and_quantization(model: onnx.ModelProto) -> None:
    producers = {node.output[0]: node.op_type for node in model.graph.node}
    users = {name: node.op_type for node in model.graph.node for name in node.input}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Add", "GlobalAveragePool"):
            assert {producers[name] for name in node.input} == {"DequantizeLinear"}
            assert users[node.output[0]] in ("QuantizeLinear", "Relu")
    assert [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")] == ["conv1", "conv2", "conv3", "shortcut", "fc"]


def test_constants_are_the_quantizer_s(model: onnx.ModelProto) -> None:
    quantized = quantize(small_net(), IMAGES)
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
    conv1 = quantized.nodes[0]
    assert np.array_equal(constants["conv1.weight"], conv1.weight)
    assert np.array_equal(constants["conv1.bias"], conv1.bias)
    assert np.array_equal(constants["conv1.weight_scale"].astype(np.float64), conv1.weight_scale)  # no scale is rounded on the way
    assert float(constants["conv1/scale"]) == quantized.tensors["conv1"].scale


def test_names_come_back() -> None:
    quantized = quantize(small_mobile(), np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32), name="mobile")
    network = import_onnx(export_onnx(quantized), Config())
    assert [node.name for node in network.nodes] == [node.name for node in quantized.nodes]
    assert [node.inputs for node in network.nodes] == [node.inputs for node in quantized.nodes]
    assert (network.name, network.image, network.input_name) == ("mobile", (16, 16, 3), "input")
    assert (network.output_scale, network.output_zero_point) == (
        quantized.tensors[quantized.nodes[-1].name].scale,
        network.output_zero_point,
    )


def test_images_must_be_known() -> None:
    tensors = {"input": Affine(1.0, 0), "add": Affine(1.0, 0)}
    model = QuantizedModel(name="net", nodes=[QuantizedAdd(name="add", inputs=("input", "input"))], tensors=tensors)
    with pytest.raises(QuantizeError, match=r"^net: a model must know its images to be exported; quantize it with some$"):
        export_onnx(model)


@pytest.mark.parametrize("pruned", [False, True])
def test_command(tmp_path: Path, pruned: bool) -> None:
    torch.manual_seed(0)
    data = striped_dataset(side=28)
    source, target = tmp_path / "net.safetensors", tmp_path / "new" / "net.onnx"
    if pruned:
        options = PruneOptions(iterations=1, iteration_images=0, final_images=32, saliency_images=16, batch=16)
        save_pruned(source, prune(resnet20(num_classes=4), data, [0, 2, 3], options), RESNET20)
    else:
        # As `crisp train` writes it: with the names of its classes.
        metadata = {"architecture": "resnet20", "num_classes": "4", "classes": '["a", "b", "c", "d"]', "options": "{}"}
        save_checkpoint(source, resnet20(num_classes=4), metadata)
    console = Console(file=io.StringIO(), width=200)
    quantize_file(QuantizeFileOptions(checkpoint=source, output=target, images=20), console, dataset=data)
    assert ("pruned in blocks of 16, M = 4" if pruned else "dense") in console.file.getvalue()
    densities = [product.layer.packed.pattern.density for product in import_onnx(target, Config()).products]
    assert len(densities) == 22
    assert np.mean(densities) < 0.35 if pruned else min(densities) == 1
    assert import_onnx(target, Config()).name == "net"


def test_command_wants_images() -> None:
    with pytest.raises(QuantizeError, match=r"^images must be at least 1, not 0$"):
        QuantizeFileOptions(checkpoint=Path("a"), output=Path("b"), images=0)
