"""The command line: ``crisp COMMAND``."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from crisp.arch import CrispError
from crisp.memory import keep_memory

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Prune a network for its user's classes and run it on a sparse accelerator."
)

#: Commands that train.
TRAINING = ("train", "prune", "experiment")
#: Columns of the widest table.
TABLE_WIDTH = 140

Data = Annotated[str, typer.Option(help="Data set: its name, folder, archive or .npz file; default looks in the usual places.")]
Size = Annotated[int | None, typer.Option(help="Pixels a side that a folder's pictures get; default is the checkpoint's, else 224.")]
Channels = Annotated[int | None, typer.Option(help="Channels that they get: 1, grey, or 3; default is the checkpoint's, else 3.")]
Seed = Annotated[int, typer.Option(help="Source of everything random.")]


@app.command()
def demo(
    classes: Annotated[str, typer.Option(help="The user's classes, names or numbers separated by commas; default draws three.")] = "",
    config: Annotated[str, typer.Option(help="Hardware: a preset, or a TOML or JSON file.")] = "default",
    images: Annotated[int, typer.Option(help="Test images that run through the RTL.")] = 8,
    sparsity: Annotated[float, typer.Option(help="Share of weights that becomes zero.")] = 0.9,
    seed: Seed = 1,
    data: Data = "",
    size: Size = None,
    channels: Channels = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Trained network.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the record and the chart.")] = Path("build/demo"),
) -> None:
    """Prune a trained network for a few classes and run every layer on the RTL, against the golden model and the dense network."""
    from crisp.demo import CHECKPOINT, DemoOptions, run_demo

    options = DemoOptions(
        classes=classes,
        config=config,
        images=images,
        sparsity=sparsity,
        seed=seed,
        data=data,
        size=size,
        channels=channels,
        checkpoint=checkpoint or CHECKPOINT,
        output=output,
    )
    result = run_demo(options, wide_console())
    if not result.comparison.bits_equal:
        raise typer.Exit(1)


@app.command("prune")
def prune_model(
    model: Annotated[str, typer.Argument(help="Trained network: a checkpoint, an architecture with --weights, or module:function.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Pruned network to write.")] = Path("pruned.safetensors"),
    classes: Annotated[str, typer.Option(help="The user's classes, names or numbers separated by commas.")] = "",
    draw: Annotated[int, typer.Option(help="How many classes the seed draws, where none are named.")] = 3,
    head: Annotated[str | None, typer.Option(help="reduced: answer among these classes; full: among all.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="Share of weights that becomes zero, at least.")] = None,
    cycles: Annotated[float | None, typer.Option(help="Predicted cycles at most, as a share of the dense network's.")] = None,
    config: Annotated[str | None, typer.Option(help="Hardware whose cycles count: a preset, or a TOML or JSON file.")] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML file with more of them, in a table [prune]: examples/prune.toml.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Any other setting, as name=value; may be repeated.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of an architecture or a function, .pth or .safetensors.")] = None,
    arguments: Annotated[str, typer.Option(help="Arguments of the function, as JSON by name.")] = "{}",
    width: Annotated[float, typer.Option(help="Factor of an architecture's channels.")] = 1.0,
    state: Annotated[Path | None, typer.Option(help="File that an interrupted run goes on from; default is beside the output.")] = None,
    data: Data = "",
    size: Size = None,
    channels: Channels = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Source of everything random.")] = None,
) -> None:
    """Prune a network for a few classes. Interrupted, it goes on where it stopped; torchrun shares it among processes."""
    from crisp.prune.command import PruneFileOptions, prune_file, read_settings

    changes = {"head": head, "sparsity": sparsity, "cycles": cycles, "config": config, "seed": seed}
    options = PruneFileOptions(
        model=model,
        output=output,
        classes=words(classes),
        draw=draw,
        settings=read_settings(settings, changes, change or ()),
        weights=weights,
        arguments=read_arguments(arguments),
        width=width,
        data=data,
        size=size,
        channels=channels,
        state=state,
        command="crisp " + shlex.join(sys.argv[1:]),
    )
    prune_file(options, wide_console())


@app.command("quantize")
def quantize_model(
    checkpoint: Annotated[Path, typer.Argument(help="Trained or pruned network.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")] = Path("model.onnx"),
    images: Annotated[int, typer.Option(help="Training images that ranges are taken from.")] = 512,
    method: Annotated[str, typer.Option(help="Ranges of activations: min-max, percentile, or mse, the least squared error.")] = "min-max",
    percentile: Annotated[float, typer.Option(help="The upper percentile of that method, in percent.")] = 99.99,
    weight_range: Annotated[str, typer.Option(help="Scales of weights: largest, or mse, the least squared error.")] = "largest",
    bias_correction: Annotated[bool, typer.Option("--bias-correction", help="Take what quantization moves channels by out again.")] = False,
    aware: Annotated[int, typer.Option(help="Images to train the network on as int8 before, its zeros kept; 0: none.")] = 0,
    aware_ranges: Annotated[str, typer.Option(help="Ranges in that training: fixed, average, or learnt.")] = "learnt",
    aware_rate: Annotated[float, typer.Option(help="Peak learning rate of that training.")] = 0.0005,
    judge: Annotated[int, typer.Option(help="Test images that float and int8 are compared on; 0: none.")] = 0,
    model: Annotated[str, typer.Option(help="module:function that makes the network, where it is your own.")] = "",
    arguments: Annotated[str, typer.Option(help="Arguments of the function, as JSON by name.")] = "{}",
    data: Data = "",
    size: Size = None,
    channels: Channels = None,
    seed: Seed = 1,
) -> None:
    """Quantize a network to int8 and export it as ONNX with QuantizeLinear and DequantizeLinear."""
    from crisp.quantize import QuantizeOptions, RangeMethod, WeightRange
    from crisp.quantize.command import QuantizeFileOptions, aware_options, choose, quantize_file

    quantization = QuantizeOptions(
        method=choose(RangeMethod, "method", method),
        percentile=percentile,
        weight_range=choose(WeightRange, "weight-range", weight_range),
        bias_correction=bias_correction,
    )
    options = QuantizeFileOptions(
        checkpoint=checkpoint,
        output=output,
        images=images,
        quantization=quantization,
        aware=aware_options(aware, aware_ranges, aware_rate, seed),
        judge=judge,
        data=data,
        size=size,
        channels=channels,
        seed=seed,
        model=model,
        arguments=read_arguments(arguments),
    )
    quantize_file(options, wide_console())


@app.command("compile")
def compile_model(
    model: Annotated[Path, typer.Argument(help="Quantized model, ONNX with QuantizeLinear and DequantizeLinear.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Program file to write.")] = Path("model.crisp"),
    config: Annotated[str, typer.Option(help="Hardware: a preset, or a TOML or JSON file.")] = "default",
    block: Annotated[int | None, typer.Option(help="Side of the blocks of weights that may be absent; default asks the model.")] = None,
    batch: Annotated[int, typer.Option(help="Images that a run computes.")] = 1,
) -> None:
    """Compile a quantized model to a program for the machine."""
    from crisp.compile.command import CompileOptions, compile_file

    compile_file(CompileOptions(model=model, output=output, config=config, block=block, batch=batch), wide_console())


@app.command()
def run(
    program: Annotated[Path, typer.Argument(help="Program file, .crisp.")],
    backend: Annotated[str, typer.Option(help="golden or verilator.")] = "verilator",
    input: Annotated[
        list[str] | None, typer.Option(help="Array (.npy): int8, real numbers, or pixels; NAME=FILE where there are several.")
    ] = None,
    output: Annotated[list[str] | None, typer.Option(help="Array (.npy) to write; NAME=FILE where there are several.")] = None,
    record: Annotated[Path | None, typer.Option("--json", help="Record to write: cycles, counters, layers.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare every bit with the golden machine.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Source of random inputs, where none are given.")] = 1,
    latency: Annotated[int, typer.Option(help="Cycles until memory answers.")] = 40,
    bandwidth: Annotated[float, typer.Option(help="Bus words a cycle, both directions together; 2 is all that the bus has.")] = 1.0,
    trace: Annotated[Path | None, typer.Option(help="Waves to write, VCD; large.")] = None,
) -> None:
    """Run a compiled network on the golden machine or on the simulated one."""
    from crisp.run import RunOptions, run_file
    from crisp_sim.machine import MemoryModel

    options = RunOptions(
        program=program,
        backend=backend,
        inputs=input or (),
        outputs=output or (),
        record=record,
        check=check,
        seed=seed,
        memory=MemoryModel(latency=latency, bandwidth=bandwidth),
        trace=trace,
    )
    if not run_file(options, wide_console()):
        raise typer.Exit(1)


@app.command()
def train(
    output: Annotated[Path | None, typer.Option(help="Checkpoint to write.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 10,
    seed: Seed = 1,
    data: Data = "",
    size: Size = None,
    channels: Channels = None,
    architecture: Annotated[str, typer.Option(help="Network: see the list that a wrong name prints.")] = "resnet20",
    width: Annotated[float, typer.Option(help="Factor of its channels.")] = 1.0,
    batch: Annotated[int | None, typer.Option(help="Images of a step; default is 128, and fewer where there are not a thousand.")] = None,
) -> None:
    """Train a network, by default the one that the demonstration prunes. Interrupted, it goes on where it stopped."""
    import torch

    from crisp.arch.files import state_beside
    from crisp.data import load_dataset
    from crisp.models import image_shape
    from crisp.progress import draw_progress
    from crisp.train import TrainOptions, fitting_batch
    from crisp.train import train as run

    torch.set_num_threads(1)
    console = Console()
    side, colours = image_shape({}, size, channels)
    dataset = load_dataset(data or None, size=side, channels=colours, tell=console.print)
    chosen_batch = fitting_batch(len(dataset.training_and_validation()[0])) if batch is None else batch
    options = TrainOptions(epochs=epochs, seed=seed, architecture=architecture, width=width, batch=chosen_batch)
    given = {
        "architecture": (architecture, "resnet20"),
        "width": (f"{width:g}", "1"),
        "batch": (batch, None),
        "size": (size, None),
        "channels": (channels, None),
        "data": (data, ""),
    }
    options_given = [f"--{name} {shlex.quote(str(value))}" for name, (value, default) in given.items() if value != default]
    command = " ".join(["crisp train", f"--epochs {epochs}", f"--seed {seed}", *options_given])
    name = f"{architecture}{'' if width == 1 else f'-x{width:g}'}-{dataset.name.lower().replace(' ', '-')}"
    path = output or Path("checkpoints") / f"{name}.safetensors"
    with draw_progress(console) as progress:
        metadata = run(dataset, path, options, state=state_beside(path), command=command, progress=progress)
    console.print(metadata)


@app.command()
def layers(
    model: Annotated[str, typer.Argument(help="A checkpoint, the name of a network, or module:function.")],
    size: Annotated[int, typer.Option(min=1, help="Pixels a side of its images.")] = 224,
    channels: Annotated[int, typer.Option(min=0, help="Channels of its images; 0 takes those that its first layer has.")] = 0,
    width: Annotated[float, typer.Option(help="Factor of a named network's channels.")] = 1.0,
    classes: Annotated[int, typer.Option(help="Outputs of a named network.")] = 1000,
    arguments: Annotated[str, typer.Option(help="Arguments of the function, as JSON by name.")] = "{}",
    keep_dense: Annotated[str, typer.Option(help="Layers that are to stay dense, separated by commas.")] = "",
) -> None:
    """Tell which layers of a network can be pruned, and why the others cannot, and what of it the machine cannot compute."""
    import torch

    from crisp.models import examine_layers, open_model
    from crisp.progress import print_plain
    from crisp.quantize import explain_refusal

    by_name = read_arguments(arguments)
    network = open_model(model, num_classes=classes, input_size=size, in_channels=channels or None, width=width, arguments=by_name)
    first = next((parameter.shape[1] for parameter in network.parameters() if parameter.ndim == 4), 3)
    image = torch.zeros(1, channels or first, size, size)
    console = wide_console()
    console.print(examine_layers(network, image, words(keep_dense)).table())
    print_plain(console, explain_refusal(network, image), "yellow")


@app.command()
def experiment(
    file: Annotated[Path, typer.Argument(help="Experiment file, TOML; see docs/experiments.md and examples/experiments.")],
    jobs: Annotated[int, typer.Option(help="Processes, of one thread each; others may be started beside them.")] = 1,
    only: Annotated[list[str] | None, typer.Option(help="Only runs that fit, such as method=crisp*; may be repeated.")] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Only tell what is done, what is left, and how long that takes.")] = False,
    limit_seconds: Annotated[float, typer.Option(help="After so long begin no new run; 0 is no limit.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Folder for records and pictures; default is the experiment's, below build.")] = None,
    known: Annotated[Path | None, typer.Option(help="Records whose runs count as done, such as results/pruning.json.")] = None,
) -> None:
    """Prune networks in many ways and compare them, as a file says. Interrupted, it goes on where it stopped."""
    from crisp.experiment import ExperimentOptions, run_experiment

    filters = [word for text in only or () for word in words(text)]
    options = ExperimentOptions(
        file=file, jobs=jobs, only=filters, listed=list_only, limit_seconds=limit_seconds, output=output, known=known
    )
    run_experiment(options, wide_console())


@app.command()
def bench(
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results"),
    only: Annotated[str, typer.Option(help="Run only these, separated by commas: see the list that a wrong name prints.")] = "",
    networks: Annotated[str, typer.Option(help="Networks to run, separated by commas; default is those of the README.")] = "",
    configs: Annotated[str, typer.Option(help="Presets to run them on, separated by commas.")] = "",
    densities: Annotated[str, typer.Option(help="Densities to prune them to, such as dense,10%,8%.")] = "",
    batches: Annotated[str, typer.Option(help="Images that each program computes, such as 1,4.")] = "",
    minutes: Annotated[float, typer.Option(help="What place and route may take; 0 is forever.")] = 0,
    jobs: Annotated[int, typer.Option(help="Networks that run at a time.")] = 1,
) -> None:
    """Measure what the README's tables show of cycles, speed and area; whole networks take about an hour on two cores.

    Accuracy is what `crisp experiment` measures.
    """
    from crisp.bench.command import BenchOptions, parse_batch, parse_density, run_benchmarks

    options = BenchOptions(
        output=output,
        only=words(only),
        networks=words(networks),
        configs=words(configs),
        densities=[parse_density(text) for text in words(densities)],
        batches=[parse_batch(text) for text in words(batches)],
        minutes=minutes,
        jobs=jobs,
    )
    run_benchmarks(options, wide_console())


@app.command()
def docs(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether they are up to date.")] = False,
) -> None:
    """Write the documents that are generated from declarations and results."""
    from crisp.document import write_documents

    stale = write_documents(Path(), check=check)
    for path in stale:
        typer.echo(f"{'stale' if check else 'written'}: {path}")
    if check and stale:
        raise typer.Exit(1)


def words(text: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def read_arguments(text: str) -> dict[str, Any]:
    """Return keyword arguments that are given as JSON by name."""
    from crisp.models import ModelError

    try:
        by_name = json.loads(text)
    except ValueError:
        by_name = None
    if not isinstance(by_name, dict):
        raise ModelError(f'arguments must be JSON by name, such as {{"depth": 3}}, not {text!r}')
    return by_name


def wide_console() -> Console:
    """Return a console that never cuts a table: a narrow terminal, or a file, gets lines longer than it asks for."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    return console


def main() -> None:
    """Run the command line; an error that a user can meet is one line, not a traceback."""
    if len(sys.argv) > 1 and sys.argv[1] in TRAINING:
        keep_memory()
    try:
        app()
    except CrispError as error:
        Console(stderr=True).print(f"crisp: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
