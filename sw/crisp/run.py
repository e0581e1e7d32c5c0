"""``crisp run``: a program file, arrays in, arrays out, and where the cycles went."""

import dataclasses
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from crisp.arch import CrispError, Program, TensorDescriptor
from crisp.arch.files import replacing
from crisp.progress import Report, draw_progress, print_plain
from crisp.report import provenance, write_json
from crisp.runtime import Accelerator, LayerReport, RunResult

if TYPE_CHECKING:
    from crisp_sim.machine import MemoryModel

__all__ = ["RunError", "RunOptions", "run_file"]


class RunError(CrispError):
    """What a program shall run on cannot be read, or is not what it wants."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What to run, and how.

    Parameters
    ----------
    program : Path
        Program file.
    backend : str
        ``golden`` or ``verilator``.
    inputs : sequence of str
        ``.npy`` files, ``NAME=FILE`` where the program has several inputs; none draws random values.
    outputs : sequence of str
        ``.npy`` files to write, likewise.
    record : Path, optional
        JSON file for cycles, counters and layers.
    check : bool
        Whether to compare every bit with the golden machine.
    seed : int
        Seed of random inputs.
    memory : MemoryModel, optional
        How memory behaves, for ``verilator``.
    trace : Path, optional
        VCD file for waves, for ``verilator``.
    """

    program: Path
    backend: str = "verilator"
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    record: Path | None = None
    check: bool = False
    seed: int = 1
    memory: "MemoryModel | None" = None
    trace: Path | None = None


def run_file(options: RunOptions, console: Console) -> bool:
    """Run a program file; return whether the outputs are the golden machine's, True where that was not asked for.

    Raises
    ------
    ProgramError
        When the file is not as it must be.
    RunError
        When an input cannot be read, or is of the wrong shape or type.
    AcceleratorError, DeviceError
        When the machine stops at an error, or is not one for the program.
    """
    program = Program.load(options.program)
    inputs = read_inputs(program, options.inputs, options.seed)
    targets = name_files(options.outputs, program.outputs, "outputs")
    accelerator = Accelerator(
        program.config, backend=options.backend, memory=options.memory, trace=options.trace, log=lambda text: console.print(text)
    )
    with draw_progress(console) as progress:
        result = accelerator.run(program, inputs, progress=tell(progress, program.network))
    for name, path in targets.items():
        write_array(path, result.outputs[name])

    equal = None
    if options.check:
        with draw_progress(console) as progress:
            golden = Accelerator(program.config, backend="golden").run(program, inputs, progress=tell(progress, "golden machine"))
        equal = all((result.outputs[name] == array).all() for name, array in golden.outputs.items())
    if result.cycles is not None:
        console.print(cycles_table(program, result))
    if options.inputs:  # of random ones the answer says nothing
        print_plain(console, "\n".join(name_classes(program, result.outputs)), "bold")
    console.print(summary(program, result, equal))
    if options.record is not None:
        write_json(options.record, {**describe_run(program, result, equal), **provenance(command(options), options.seed)})
    return equal is not False


def command(options: RunOptions) -> str:
    """Return the command that runs a program so."""
    words = ["crisp", "run", str(options.program), "--backend", options.backend]
    words += [word for name in options.inputs for word in ("--input", name)]
    if options.memory is not None:
        words += ["--latency", f"{options.memory.latency}", "--bandwidth", f"{options.memory.bandwidth:g}"]
    return shlex.join([*words, "--seed", f"{options.seed}"])


def tell(progress: Report, stage: str) -> Any:
    """Return what draws a run's progress."""
    return lambda done, total: progress(stage, done, total, f"{done} of {total} commands")


def name_files(files: Sequence[str], tensors: Sequence[TensorDescriptor], kind: str) -> dict[str, Path]:
    """Return the file of each tensor that one is named for.

    Raises
    ------
    RunError
        When a name is missing, unknown, or given twice.
    """
    found: dict[str, Path] = {}
    names = [tensor.name for tensor in tensors]
    for text in files:
        # A program of one tensor needs no name; a file's own name may hold a sign of equality.
        name, _, file = text.partition("=") if text.partition("=")[0] in names else ("", "", text)
        if not name and len(names) == 1:
            name = names[0]
        if not name:
            raise RunError(f"{kind} must be NAME=FILE with a name of {', '.join(names)}, not {text!r}")
        if name in found:
            raise RunError(f"{kind} must name {name} once, not twice")
        found[name] = Path(file)
    return found


def read_inputs(program: Program, files: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Return the ``int8`` inputs of a program: read, quantized where they are real, or random where there are no files.

    Raises
    ------
    RunError
        When some but not all inputs have a file, or one cannot be read, or has the wrong shape or type.
    """
    if not files:
        rng = np.random.default_rng(seed)
        return {tensor.name: rng.integers(-128, 128, tensor.shape, dtype=np.int8) for tensor in program.inputs}
    found = name_files(files, program.inputs, "inputs")
    missing = [tensor.name for tensor in program.inputs if tensor.name not in found]
    if missing:
        raise RunError(f"inputs must have a file for each of {', '.join(tensor.name for tensor in program.inputs)}; none for {missing[0]}")
    normalization = program.info.get("normalization")
    return {tensor.name: read_array(found[tensor.name], tensor, normalization) for tensor in program.inputs}


def read_array(path: Path, tensor: TensorDescriptor, normalization: Any = None) -> np.ndarray:
    """Return an input: ``int8`` as it is, real numbers quantized, ``uint8`` pixels normalised before where the program says how.

    One image may come without its batch dimension, and a grey one without its channel.

    Raises
    ------
    RunError
        When the file is no array, or one of the wrong shape or type.
    """
    what = "the input" if tensor.name == "input" else f"input {tensor.name}"
    try:
        with path.open("rb") as file:  # of an archive that is cut off, the library would leave it open
            array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: must be a NumPy file (.npy) for {what}: {error}; write one with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise RunError(f"{path}: must be one array for {what}, not an archive; write it with numpy.save")
    if tensor.shape[3] == 1 and array.ndim < 4 and array.shape[-2:] == tensor.shape[1:3]:
        array = array[..., None]
    if tensor.shape[0] == 1 and array.shape == tensor.shape[1:]:
        array = array[None]
    if array.shape[1:] == tensor.shape[1:] and 0 < len(array) != tensor.shape[0]:
        raise RunError(
            f"{path}: {what} must be {tensor.shape[0]} images, the batch that the program is compiled for, not {len(array)}; "
            f"give as many, or compile with --batch {len(array)}"
        )
    if array.shape != tensor.shape:
        raise RunError(f"{path}: {what} must have shape {tensor.shape} (N, H, W, C), not {array.shape}; transpose it")
    if array.dtype == np.int8:
        return array
    if array.dtype == np.uint8 and normalization is not None:
        return tensor.quantize(normalize_pixels(path, array, normalization))
    if not np.issubdtype(array.dtype, np.floating):
        pixels = "" if normalization is None else ", or uint8 pixels"
        raise RunError(f"{path}: {what} must be int8, or real numbers that are quantized{pixels}, not {array.dtype}; convert it")
    return tensor.quantize(array)


def normalize_pixels(path: Path, pixels: np.ndarray, normalization: Any) -> np.ndarray:
    """Return what ``uint8`` pixels [N, H, W, C] are to the network, float32, as the program's ``info`` says.

    Raises
    ------
    RunError
        When it says something else.
    """
    try:
        mean, deviation = (np.array(normalization[name], np.float32) for name in ("mean", "deviation"))
        return (pixels.astype(np.float32) - mean) / deviation
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: pixels must be normalised as the program says, but it says {normalization!r:.80}; give real numbers"
        ) from error


def name_classes(program: Program, outputs: Mapping[str, np.ndarray]) -> list[str]:
    """Return a line for each image, with the classes of the largest outputs; none where the program does not know their names."""
    names = program.info.get("classes")
    if len(program.outputs) != 1 or not isinstance(names, list) or program.outputs[0].shape[1:] != (1, 1, len(names)):
        return []
    (tensor,) = program.outputs
    lines = []
    for number, logits in enumerate(tensor.dequantize(outputs[tensor.name]).reshape(-1, len(names))):
        best = [f"{printable(names[label])} ({logits[label]:.3g})" for label in np.argsort(-logits, kind="stable")[:3]]
        image = "class" if tensor.shape[0] == 1 else f"class of image {number}"
        lines.append(f"{image}: {best[0]}" + (f", then {', '.join(best[1:])}" if best[1:] else ""))
    return lines


def printable(name: object) -> str:
    """Return a name without what would steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in str(name))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``path`` by way of a temporary file; its folder is made."""
    with replacing(path, RunError) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def utilization(layer: LayerReport) -> str:
    """Return the share of a layer's cycles in which the array took a step."""
    return f"{layer.counters.get('active', 0) / layer.cycles:.1%}" if layer.cycles else ""


def cycles_table(program: Program, result: RunResult) -> Table:
    """Return a table of all layers."""
    batch = program.inputs[0].shape[0]
    images = "" if batch == 1 else f", {batch} images"
    table = Table(
        title=f"{program.network}, {program.config.rows}x{program.config.columns} array{images}", title_justify="left", box=box.SIMPLE_HEAD
    )
    for heading in ("layer", "operation"):
        table.add_column(heading, no_wrap=True)
    for heading in ("MACs", "cycles", "predicted", "array active"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in result.layers:
        numbers = (f"{layer.macs:,}", f"{layer.cycles:,}", f"{layer.predicted_cycles:,}", utilization(layer))
        table.add_row(layer.name, layer.operation, *numbers)
    macs, predicted = (sum(getattr(layer, name) for layer in result.layers) for name in ("macs", "predicted_cycles"))
    active = f"{result.counters['active'] / result.cycles:.1%}" if result.cycles else ""
    table.add_section()
    table.add_row("all", "", f"{macs:,}", f"{result.cycles:,}", f"{predicted:,}", active, style="bold")
    return table


def summary(program: Program, result: RunResult, equal: bool | None) -> str:
    """Return a line or two on the whole run."""
    parts = [f"{program.network} on {result.backend}: {result.seconds:.1f} s"]
    if result.cycles is not None:
        batch = program.inputs[0].shape[0]
        parts.append(f"{result.cycles:,} cycles" + ("" if batch == 1 else f", {result.cycles // batch:,} an image"))
        parts.append(f"{result.counters['bytes_read']:,} bytes read, {result.counters['bytes_written']:,} written")
    if equal is not None:
        parts.append("every bit equals the golden machine's" if equal else "DIFFERS from the golden machine")
    return ", ".join(parts)


def describe_run(program: Program, result: RunResult, equal: bool | None) -> dict[str, Any]:
    """Return the record of a run, as JSON has it."""
    return {
        "name": "run",
        "network": program.network,
        "batch": program.inputs[0].shape[0],
        "config": dataclasses.asdict(program.config),
        "backend": result.backend,
        "seconds": round(result.seconds, 3),
        "cycles": result.cycles,
        "bits_equal": equal,
        "counters": result.counters,
        "layers": [dataclasses.asdict(layer) for layer in result.layers],
        "outputs": {
            tensor.name: {"shape": tensor.shape, "scale": tensor.scale, "zero_point": tensor.zero_point} for tensor in program.outputs
        },
        "info": dict(program.info),
    }
