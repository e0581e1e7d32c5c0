"""From a model to a program: the golden machine computes what the network of integers does, on machines of all shapes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.sw.compile.random_models import RandomNet
from tests.sw.small import small_mobile, small_net, striped_split
from torch import nn
from typer.testing import CliRunner

from crisp.arch import Config, Program
from crisp.cli import app
from crisp.compile import CompileError, compile_network, import_onnx
from crisp.golden.network import exact_product
from crisp.quantize import export_onnx, quantize
from crisp.runtime import Accelerator

TINY = Config.preset("tiny")
CONFIGS = {
    "default": Config(),
    "tiny": TINY,
    "little memory": dataclasses.replace(TINY, activation_buffer_depth=64),
    "groups of 2, 7 columns": Config(group_size=2, rows=8, columns=7, drain_rows=2),
    "groups of 8": Config(group_size=8),
    "groups of 16": Config(group_size=16, drain_rows=1),
    "32 rows, 14 columns": Config(rows=32, columns=14),
    "two clusters": dataclasses.replace(TINY, clusters=2),
    "four clusters, little memory": dataclasses.replace(TINY, clusters=4, activation_buffer_depth=64),
    "eight clusters": Config(clusters=8),
}


def check(model: nn.Module, calibration: np.ndarray, x: np.ndarray, config: Config, block: int | None = None) -> None:
    network = import_onnx(export_onnx(quantize(model, calibration), block=block), config)
    assert network.image is not None
    program = Program.from_bytes(compile_network(network, config, network.image).to_bytes())
    images = network.quantize_input(x[:1])
    result = Accelerator(config, backend="golden").run(program, {program.inputs[0].name: images})
    expected = network.run(images, product=exact_product)
    assert np.array_equal(result.outputs[program.outputs[0].name].reshape(expected.shape), expected)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(8))
def test_random_networks(seed: int, config: str) -> None:
    model = RandomNet(seed, blocks=3 + seed % 4)
    check(model, model.images(8, 1), model.images(1, 2), CONFIGS[config], block=16 if seed % 2 else None)


@pytest.mark.parametrize("config", ["default", "tiny"])
def test_small_networks(config: str) -> None:
    noise = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    check(small_mobile(), noise, noise, CONFIGS[config])
    stripes = striped_split(8, 4, 12, seed=0).images[:, None].astype(np.float32) / 255
    check(small_net(), stripes, stripes, CONFIGS[config])


def test_command_line(tmp_path: Path) -> None:
    model = RandomNet(3)
    path, program = tmp_path / "net.onnx", tmp_path / "new" / "net.crisp"
    path.write_bytes(export_onnx(quantize(model, model.images(8, 1))))
    done = CliRunner().invoke(app, ["compile", str(path), "--config", "tiny", "--output", str(program)])
    assert done.exit_code == 0, done.output
    assert "predicted cycles" in done.output
    loaded = Program.load(program)
    assert loaded.config == TINY
    assert loaded.info["command"] == f"crisp compile {path} --config tiny --output {program}"
    assert all(layer.predicted_cycles > 0 for layer in loaded.layers)
    done = CliRunner().invoke(app, ["run", str(program), "--backend", "golden"])
    assert done.exit_code == 0, done.output


def test_command_line_of_a_batch(tmp_path: Path) -> None:
    """Several images in, as many results out; another number is refused with what to do."""
    model = RandomNet(3)
    path, program, images, results = (tmp_path / name for name in ("net.onnx", "net.crisp", "x.npy", "y.npy"))
    path.write_bytes(export_onnx(quantize(model, model.images(8, 1))))
    network = import_onnx(path, TINY)
    done = CliRunner().invoke(app, ["compile", str(path), "--config", "tiny", "--batch", "3", "--output", str(program)])
    assert done.exit_code == 0, done.output
    assert "4x4, 3 images" in done.output
    assert Program.load(program).info["command"] == f"crisp compile {path} --config tiny --batch 3 --output {program}"
    three = network.quantize_input(model.images(3, 2))
    np.save(images, three)
    run = ["run", str(program), "--backend", "golden", "--input", str(images), "--output", str(results)]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    expected = network.run(three)
    np.testing.assert_array_equal(np.load(results), expected.reshape(np.load(results).shape))
    np.save(images, three[:2])
    done = CliRunner().invoke(app, run)
    assert str(done.exception).endswith(
        "must be 3 images, the batch that the program is compiled for, not 2; give as many, or compile with --batch 2"
    )
    done = CliRunner().invoke(app, ["compile", str(path), "--config", "tiny", "--batch", "0", "--output", str(program)])
    assert str(done.exception) == "batch must be 1 to 1024 images, not 0; compile for 1 to 1024 and run more than once"


def test_command_line_tells_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    done = CliRunner().invoke(app, ["compile", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "net.crisp")])
    assert isinstance(done.exception, CompileError)
    assert not (tmp_path / "net.crisp").exists()
