"""The demonstration: a trained network, pruned for a few classes, quantized, compiled, and run on the hardware's RTL, bit for bit."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from crisp import data
from crisp.arch import Config, CrispError
from crisp.comparison import CheckedRun, check_layers, compare_networks, run_images
from crisp.compile.compile import schedule_network
from crisp.data import Dataset, draw_classes, load_dataset
from crisp.golden.network import Network
from crisp.models import accuracy, image_shape, load_checkpoint, select_classes
from crisp.progress import Report, draw_progress
from crisp.prune import PruneOptions, prune
from crisp.quantize import judge, quantize, to_network
from crisp.report import Comparison, accuracy_table, draw_layers, layer_table, provenance, write_json
from crisp.runtime import Accelerator

__all__ = ["CHECKPOINT", "DemoError", "DemoOptions", "DemoResult", "choose_classes", "run_demo"]

#: The network that comes with the source; `crisp train` makes it.
CHECKPOINT = Path("checkpoints/resnet20-fashion-mnist.safetensors")

CALIBRATION_IMAGES = 512
#: Classes where the user names none.
DRAWN_CLASSES = 3


class DemoError(CrispError):
    """An option of the demonstration breaks a rule."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Settings of the demonstration.

    Parameters
    ----------
    classes : str
        The user's classes, names or numbers separated by commas; empty draws three by ``seed``.
    config : str
        Preset, or TOML or JSON file, of the hardware.
    images : int
        Test images that run through the RTL, each a run of the whole program.
    sparsity : float
        Share of the weights of the pruned layers that becomes zero.
    seed : int
        Source of everything random.
    data : str
        Data set; empty looks in the usual places.
    size, channels : int, optional
        Of a folder of pictures: pixels a side and channels; see `crisp.models.image_shape`.
    checkpoint : Path
        Trained network.
    output : Path
        Folder for ``demo.json`` and ``demo.png``.
    """

    classes: str = ""
    config: str = "default"
    images: int = 8
    sparsity: float = 0.9
    seed: int = 1
    data: str = ""
    size: int | None = None
    channels: int | None = None
    checkpoint: Path = CHECKPOINT
    output: Path = Path("build/demo")

    def __post_init__(self) -> None:
        if self.images < 1:
            raise DemoError(f"images must be at least 1, not {self.images}")

    @property
    def command(self) -> str:
        """The command line that repeats this."""
        words = ["crisp demo"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name != "output":
                words.append(f"--{field.name} '{value}'")
        return " ".join(words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demonstration measured.

    Parameters
    ----------
    comparison : Comparison
        Every layer, dense and sparse.
    accuracies : dict
        Top-1 of each network on the test images of the user's classes.
    record : dict
        All of it, as ``demo.json`` has it.
    """

    comparison: Comparison
    accuracies: dict[str, float]
    record: dict[str, Any]


def choose_classes(text: str, dataset: Dataset, seed: int) -> tuple[int, ...]:
    """Read the user's classes.

    Parameters
    ----------
    text : str
        Names or labels separated by commas; empty draws three by ``seed``.
    dataset : Dataset
        Has the names.
    seed : int
        For the draw.

    Raises
    ------
    DataError
        When they are too few, named twice, or none of the data set's.
    """
    if not text.strip():
        return draw_classes(dataset, min(DRAWN_CLASSES, len(dataset.classes)), seed, least=2)
    return data.choose_classes([word for word in text.split(",") if word.strip()], dataset, least=2)


def run_demo(
    options: DemoOptions, console: Console, *, dataset: Dataset | None = None, prune_options: PruneOptions | None = None
) -> DemoResult:
    """Run the demonstration and write its record and chart.

    Parameters
    ----------
    options : DemoOptions
        Settings.
    console : Console
        Where progress and tables go.
    dataset : Dataset, optional
        Images; default is what ``options.data`` says.
    prune_options : PruneOptions, optional
        Settings of pruning; default are the pruner's own, with the sparsity and the seed of ``options``.

    Raises
    ------
    CrispError
        When data, checkpoint, configuration or an option is wrong.
    """
    from crisp_sim.machine import MemoryModel

    started = time.monotonic()
    torch.set_num_threads(1)  # such small layers lose more by sharing than they gain
    torch.manual_seed(options.seed)
    config = Config.load(options.config)
    model, metadata = load_checkpoint(options.checkpoint)
    size, channels = image_shape(metadata, options.size, options.channels)
    dataset = dataset or load_dataset(options.data or None, size=size, channels=channels, tell=console.print)
    classes = choose_classes(options.classes, dataset, options.seed)
    names = [dataset.classes[label] for label in classes]
    console.print(
        f"[bold]{metadata['architecture']}[/] on {dataset.name}, for the classes [bold]{', '.join(names)}[/]; hardware: {describe(config)}"
    )
    memory = MemoryModel()
    accelerator = Accelerator(config, memory=memory, log=console.print)

    # Quantize, prune, quantize. The dense network comes first, and is compiled: if it does not fit, nobody waits to hear it.
    dense_float = select_classes(model, classes).eval()
    test = dataset.test.select(classes)
    training = dataset.training_and_validation()[0].select(classes)
    prune_options = prune_options or PruneOptions(
        sparsity=options.sparsity, n=config.group_size, group=config.group_size, seed=options.seed
    )
    with draw_progress(console) as progress:
        calibration = training.take(np.random.default_rng(options.seed).permutation(len(training))[:CALIBRATION_IMAGES]).inputs()
        dense_int8 = to_network(quantize(dense_float, calibration, name="dense"), config)
        image = dense_int8.quantize_input(test.take(slice(1)).inputs())
        schedule_network(dense_int8, config, (image.shape[1], image.shape[2], image.shape[3]))
        pruned = prune(model, dataset, classes, prune_options, progress)
        sparse_int8 = to_network(quantize(pruned.model, calibration, name="sparse"), config, pruned.patterns)
    accuracies = {
        "dense_float": accuracy(dense_float, test),
        "dense_int8": judge(dense_int8, test),
        "pruned_float": accuracy(pruned.model, test),
        "pruned_int8": judge(sparse_int8, test),
    }

    # Run both programs on the RTL for the same images; then the pruned one up to each layer, to see what it leaves on chip.
    chosen = np.random.default_rng(options.seed).permutation(len(test))[: options.images]
    images = dense_int8.quantize_input(test.take(chosen).inputs())
    simulated = time.monotonic()
    with draw_progress(console) as progress:
        dense_runs = run_with_progress(dense_int8, images, accelerator, progress)
        sparse_runs = run_with_progress(sparse_int8, images, accelerator, progress)
        layers_equal = check_with_progress(sparse_int8, sparse_runs[0], images[:1], accelerator, progress)
    comparison = compare_networks(dense_runs, sparse_runs, layers_equal)

    record = {
        **provenance(options.command, options.seed),
        "network": metadata["architecture"],
        "data": dataset.name,
        "classes": names,
        "config": {"name": options.config, **dataclasses.asdict(config), "on_chip_bytes": config.on_chip_bytes},
        "memory": dataclasses.asdict(memory),
        "pattern": describe_pattern(prune_options),
        "sparsity": pruned.sparsity,
        "images": len(images),
        "test_images": len(test),
        "accuracy": accuracies,
        **comparison.to_dict(),
        "prune_seconds": pruned.seconds,
        "simulation_seconds": time.monotonic() - simulated,
        "seconds": time.monotonic() - started,
    }
    write_json(options.output / "demo.json", record)
    title = f"{metadata['architecture']} for {', '.join(names)}: {pruned.sparsity:.1%} sparse, {config.rows}x{config.columns} array"
    draw_layers(comparison, title, options.output / "demo.png")
    show(comparison, accuracies, options, record, console)
    return DemoResult(comparison=comparison, accuracies=accuracies, record=record)


def describe_pattern(options: PruneOptions) -> str:
    """Return which pattern the pruned layers have, in words."""
    n = f"up to {options.n}:{options.group} in each block" if options.per_block else f"{options.n}:{options.group}"
    return f"{n}, B = {options.block}"


def describe(config: Config) -> str:
    """Return the size of a machine in words."""
    return (
        f"{config.rows}x{config.columns} array, M = {config.group_size}, {config.on_chip_bytes // 1024} KiB on chip, "
        f"bus of {config.axi_data_width} bits"
    )


def run_with_progress(network: Network, images: np.ndarray, accelerator: Accelerator, progress: Report) -> list[CheckedRun]:
    """Run a network on the RTL, a step of progress an image."""

    def report(done: int, run: CheckedRun) -> None:
        verdict = "every byte equal" if run.bits_equal else "BYTES DIFFER"
        progress(f"RTL, {network.name}", done, len(images), f"image {done}: {run.result.cycles:,} cycles, {verdict}")

    return run_images(network, images, accelerator, report)


def check_with_progress(
    network: Network, run: CheckedRun, image: np.ndarray, accelerator: Accelerator, progress: Report
) -> dict[str, bool]:
    """Check every layer of a network, a step of progress each."""
    operators = run.compilation.plan.operators
    done = 0

    def report(name: str, equal: bool) -> None:
        nonlocal done
        done += 1
        progress(
            f"RTL, {network.name}, up to each layer", done, len(operators), f"{name}: {'every byte equal' if equal else 'BYTES DIFFER'}"
        )

    return check_layers(network, operators, image, accelerator, report)


def show(comparison: Comparison, accuracies: dict[str, float], options: DemoOptions, record: dict[str, Any], console: Console) -> None:
    """Print the tables and what they add up to."""
    console.print(layer_table(comparison, f"Cycles of every layer on the RTL, {record['images']} images, each a run of the whole program"))
    console.print(accuracy_table(accuracies, record["test_images"]))
    console.print(
        f"{record['sparsity']:.1%} of the pruned layers' weights are zero. On a {describe(Config.load(options.config))}: dense "
        f"{comparison.cycles_dense:,} cycles from start to end, memory included, sparse {comparison.cycles_sparse:,}: "
        f"[bold]{comparison.speedup:.2f}x[/] faster; skipping alone could give {1 / comparison.density:.2f}x. Utilization "
        f"{comparison.utilization_dense:.1%} dense, {comparison.utilization:.1%} sparse. Memory traffic of an image: "
        f"{traffic(comparison.counters_dense, record['images'])} dense, {traffic(comparison.counters_sparse, record['images'])} sparse."
    )
    verdict = "[bold green]Every output byte of the RTL equals the golden model's, of the networks and of each layer.[/]"
    console.print(verdict if comparison.bits_equal else "[bold red]RTL and golden model DIFFER: see the table.[/]")
    console.print(f"Record and chart: {options.output / 'demo.json'}, {options.output / 'demo.png'}")


def traffic(counters: dict[str, int], images: int) -> str:
    """Return the bytes an image that went over the memory bus."""
    return f"{(counters['bytes_read'] + counters['bytes_written']) / images / 1024:.0f} KiB"
