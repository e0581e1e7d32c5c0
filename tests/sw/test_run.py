"""``crisp run``: files in, files out, one line for what is wrong."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.sw.arch.programs import TABLE, end, make_program, tensor
from tests.sw.runtime.test_accelerator import EXPECTED, IMAGE
from typer.testing import CliRunner

from crisp import run
from crisp.arch import Layout, Program, TensorDescriptor
from crisp.cli import app
from crisp.run import RunError, RunOptions, name_classes, read_inputs, run_file
from crisp.runtime import Accelerator
from crisp_sim.machine import MemoryModel

PROGRAM = make_program()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    PROGRAM.save(tmp_path / "small.crisp")
    np.save(tmp_path / "x.npy", IMAGE)
    return tmp_path


def test_int8_in_int8_out(folder: Path) -> None:
    options = RunOptions(
        program=folder / "small.crisp",
        backend="golden",
        inputs=[str(folder / "x.npy")],
        outputs=[str(folder / "new" / "y.npy")],
        record=folder / "s.json",
        check=True,
    )
    assert run_file(options, Console(quiet=True))
    assert (np.load(folder / "new" / "y.npy") == EXPECTED).all()
    record = json.loads((folder / "s.json").read_text())
    assert (record["network"], record["backend"], record["cycles"], record["bits_equal"]) == ("small", "golden", None, True)
    assert [layer["name"] for layer in record["layers"]] == ["conv", "output"]
    assert record["outputs"]["result"] == {"shape": [1, 5, 7, 6], "scale": 0.5, "zero_point": 3}
    assert record["command"] == f"crisp run {folder / 'small.crisp'} --backend golden --input {folder / 'x.npy'} --seed 1"


def test_on_the_simulated_machine(folder: Path) -> None:
    options = RunOptions(
        program=folder / "small.crisp",
        inputs=[str(folder / "x.npy")],
        outputs=[f"result={folder / 'y.npy'}"],
        record=folder / "s.json",
        check=True,
        memory=MemoryModel(latency=3),
        trace=folder / "waves.vcd",
    )
    console = Console(record=True, file=io.StringIO(), width=132)
    assert run_file(options, console)
    assert (np.load(folder / "y.npy") == EXPECTED).all()
    assert "small, 4x4 array" in (text := console.export_text())
    assert "every bit equals the golden machine's" in text
    record = json.loads((folder / "s.json").read_text())
    assert record["bits_equal"]
    assert record["cycles"] == record["counters"]["cycles"] > record["layers"][0]["cycles"] > 0
    assert "m_axi_araddr" in (folder / "waves.vcd").read_text()


def test_real_numbers_are_quantized(folder: Path) -> None:
    (image,) = PROGRAM.inputs
    np.save(folder / "real.npy", image.dequantize(IMAGE)[0])
    inputs = read_inputs(PROGRAM, [str(folder / "real.npy")], 1)
    assert (inputs["image"] == IMAGE).all()


def test_random_inputs_repeat() -> None:
    first, second, other = (read_inputs(PROGRAM, [], seed)["image"] for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_inputs_by_name(folder: Path) -> None:
    two = make_program(end(), inputs=(tensor("a"), tensor("b", offset=320)))
    files = [f"b={folder / 'x.npy'}", f"a={folder / 'z.npy'}"]
    np.save(folder / "z.npy", ~IMAGE)
    inputs = read_inputs(two, files, 1)
    assert (inputs["a"] == ~IMAGE).all()
    assert (inputs["b"] == IMAGE).all()
    for wrong, message in (
        (files[:1], "inputs must have a file for each of a, b; none for a"),
        ([*files, files[0]], "inputs must name b once, not twice"),
        (["x.npy"], "inputs must be NAME=FILE with a name of a, b, not 'x.npy'"),
    ):
        with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
            read_inputs(two, wrong, 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 6, 5, 7), np.int8), "input image must have shape (1, 5, 7, 6) (N, H, W, C), not (1, 6, 5, 7); transpose it"),
        (np.zeros((1, 5, 7, 6), np.int64), "input image must be int8, or real numbers that are quantized, not int64; convert it"),
        (b"no array", "must be a NumPy file (.npy) for input image: "),
        (b"PK\x03\x04, and cut off", "must be a NumPy file (.npy) for input image: "),
        (b"", "must be a NumPy file (.npy) for input image: "),
        (None, "must be a NumPy file (.npy) for input image: "),
        ({"x": IMAGE}, "must be one array for input image, not an archive; write it with numpy.save"),
    ],
)
def test_wrong_input(tmp_path: Path, array: object, message: str) -> None:
    path = tmp_path / "wrong.npy"
    if isinstance(array, np.ndarray):
        np.save(path, array)
    elif isinstance(array, dict):
        with path.open("wb") as file:
            np.savez(file, **array)
    elif isinstance(array, bytes):
        path.write_bytes(array)
    with pytest.raises(RunError, match=f"^{re.escape(f'{path}: {message}')}"):
        read_inputs(PROGRAM, [str(path)], 1)


def test_the_input_is_called_so_once(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 2, 1), np.int8))
    with pytest.raises(RunError) as caught:
        read_inputs(make_program(inputs=(tensor("input"),)), [str(tmp_path / "x.npy")], 1)
    message = "the input must have shape (1, 5, 7, 6) (N, H, W, C), not (1, 2, 2, 1); transpose it"
    assert str(caught.value) == f"{tmp_path / 'x.npy'}: {message}"


def test_pixels_are_normalised_where_the_program_says_how(tmp_path: Path) -> None:
    pixels = np.arange(210, dtype=np.uint8).reshape(1, 5, 7, 6)
    np.save(tmp_path / "x.npy", pixels)
    files = [str(tmp_path / "x.npy")]
    with pytest.raises(RunError, match=r"input image must be int8, or real numbers that are quantized, not uint8; convert it$"):
        read_inputs(PROGRAM, files, 1)
    known = {"mean": [100, 101, 102, 103, 104, 105], "deviation": [2]}
    values = (pixels - np.arange(100.0, 106)) / 2
    inputs = read_inputs(make_program(info={"normalization": known}), files, 1)
    assert (inputs["image"] == np.clip(np.rint(values / 0.5) + 3, -128, 127)).all()
    for wrong in ({"mean": [1]}, {"mean": [1, 2], "deviation": [1]}, {"mean": "x", "deviation": [1]}, 3):
        with pytest.raises(RunError, match=r"x\.npy: pixels must be normalised as the program says, but it says .*; give real numbers$"):
            read_inputs(make_program(info={"normalization": wrong}), files, 1)
    np.save(tmp_path / "x.npy", pixels.astype(np.int64))
    with pytest.raises(RunError, match="must be int8, or real numbers that are quantized, or uint8 pixels, not int64; convert it"):
        read_inputs(make_program(info={"normalization": known}), files, 1)


def logits(batch: int, classes: int) -> TensorDescriptor:
    return tensor("logits", shape=(batch, 1, 1, classes), layout=Layout.ROWS, stride=16, scale=0.5, zero_point=1)


@pytest.mark.parametrize(
    ("output", "names", "values", "lines"),
    [
        (logits(1, 4), ["a", "b [x]", "c", "d"], [[3, 9, -5, 9]], ["class: b [x] (4), then d (4), a (1)"]),
        (logits(1, 2), ["a", "b"], [[3, 1]], ["class: a (1), then b (0)"]),
        (logits(1, 1), ["a"], [[3]], ["class: a (1)"]),
        (
            logits(2, 2),
            ["a", "\x1b[31m"],
            [[3, 1], [1, 3]],
            ["class of image 0: a (1), then ?[31m (0)", "class of image 1: ?[31m (1), then a (0)"],
        ),
        (logits(1, 3), ["a", "b"], [[3, 1, 2]], []),
        (logits(1, 2), None, [[3, 1]], []),
        (logits(1, 2), {"a": 1, "b": 2}, [[3, 1]], []),
        (tensor("logits"), list("abcdef"), np.zeros(210), []),
    ],
)
def test_classes_that_win(output: TensorDescriptor, names: object, values: object, lines: list[str]) -> None:
    program = make_program(outputs=(output,), info={"classes": names})
    assert name_classes(program, {"logits": np.array(values, np.int8).reshape(output.shape)}) == lines


def test_pickles_are_refused(tmp_path: Path) -> None:
    """An array of objects would run code when it is read."""
    np.save(tmp_path / "x.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(RunError, match="Object arrays cannot be loaded"):
        read_inputs(PROGRAM, [str(tmp_path / "x.npy")], 1)


def test_a_difference_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Accelerator):
        def run(self, program: Program, *arguments: object, **more: object) -> object:
            result = super().run(program, *arguments, **more)  # type: ignore[arg-type]
            if self.seen:
                result.outputs["result"][0, 4, 6, 5] ^= 1
            Wrong.seen = True
            return result

        seen = False

    monkeypatch.setattr(run, "Accelerator", Wrong)
    console = Console(record=True, file=io.StringIO())
    assert not run_file(RunOptions(program=folder / "small.crisp", backend="golden", check=True), console)
    assert "DIFFERS from the golden machine" in console.export_text()


def test_command_line(folder: Path) -> None:
    arguments = ["run", str(folder / "small.crisp"), "--backend", "golden", "--input", str(folder / "x.npy")]
    result = CliRunner().invoke(app, [*arguments, "--output", str(folder / "y.npy"), "--json", str(folder / "s.json"), "--check"])
    assert result.exit_code == 0, result.output
    assert "small on golden:" in result.output
    command = f"crisp run {folder / 'small.crisp'} --backend golden --input {folder / 'x.npy'} --latency 40 --bandwidth 1 --seed 1"
    assert json.loads((folder / "s.json").read_text())["command"] == command
    assert "every bit equals the golden machine's" in result.output
    assert (np.load(folder / "y.npy") == TABLE[IMAGE.astype(int) + 128]).all()
    failed = CliRunner().invoke(app, ["run", str(folder / "x.npy")])
    assert failed.exit_code
    assert "header: must begin with" in str(failed.exception)
