"""The demonstration: a trained network, pruned for a few classes, quantized, packed, and run on the hardware's RTL, bit for bit."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console

from crisp.arch import Config, CrispError, check_capacity
from crisp.comparison import LayerRun, compare_networks, run_network
from crisp.data import Dataset, Split, load_dataset, normalize
from crisp.golden.network import Network
from crisp.models import accuracy, load_checkpoint, select_classes
from crisp.progress import Report, draw_progress
from crisp.prune import PruneOptions, prune
from crisp.quantize import quantize, to_network
from crisp.report import Comparison, accuracy_table, draw_layers, layer_table, provenance, write_json

if TYPE_CHECKING:
    from crisp_sim.harness import EngineSimulator

__all__ = ["CHECKPOINT", "DemoError", "DemoOptions", "DemoResult", "choose_classes", "run_demo"]

#: The network that comes with the source; `crisp train` makes it.
CHECKPOINT = Path("checkpoints/resnet20-fashion-mnist.safetensors")

CALIBRATION_IMAGES = 512


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
        Preset or TOML file of the hardware.
    images : int
        Test images that run through the RTL, in one batch.
    sparsity : float
        Share of the weights of the pruned layers that becomes zero.
    seed : int
        Source of everything random.
    data : str
        Folder with the data; empty looks in the usual places.
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
        When they are too few, named twice, or no labels of the data set.
    DemoError
        When a name is unknown.
    """
    if not text.strip():
        drawn = np.random.default_rng(seed).permutation(len(dataset.classes))[:3]
        return dataset.check_classes(sorted(drawn.tolist()))
    names = [name.lower() for name in dataset.classes]
    labels = []
    for word in (word.strip() for word in text.split(",") if word.strip()):
        if word.lower() in names:
            labels.append(names.index(word.lower()))
        elif word.isdecimal():
            labels.append(int(word))
        else:
            raise DemoError(f"classes must be numbers or names, not {word!r}; {dataset.name} has {', '.join(dataset.classes)}")
    return dataset.check_classes(labels)


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
    from crisp_sim.harness import EngineSimulator

    started = time.monotonic()
    torch.set_num_threads(1)  # such small layers lose more by sharing than they gain
    torch.manual_seed(options.seed)
    config = Config.load(options.config)
    model, metadata = load_checkpoint(options.checkpoint)
    dataset = dataset or load_dataset(options.data or None, tell=console.print)
    classes = choose_classes(options.classes, dataset, options.seed)
    names = [dataset.classes[label] for label in classes]
    console.print(
        f"[bold]{metadata['architecture']}[/] on {dataset.name}, for the classes [bold]{', '.join(names)}[/]; hardware: "
        f"{config.rows}x{config.columns} array, M = {config.group_size}, {config.on_chip_bytes // 1024} KiB on chip"
    )
    simulator = EngineSimulator(config, log=console.print)

    # Quantize, prune, quantize. The dense network comes first: if it does not fit the hardware, nobody waits to hear it.
    dense_float = select_classes(model, classes).eval()
    test = dataset.test.select(classes)
    training = dataset.training_and_validation()[0].select(classes)
    prune_options = prune_options or PruneOptions(sparsity=options.sparsity, group=config.group_size, seed=options.seed)
    with draw_progress(console) as progress:
        calibration = training.images[np.random.default_rng(options.seed).permutation(len(training))[:CALIBRATION_IMAGES]]
        dense_int8 = to_network(quantize(dense_float, calibration, name="dense"), config)
        for product in dense_int8.products:
            check_capacity(product.layer, config)
        pruned = prune(model, dataset, classes, prune_options, progress)
        sparse_int8 = to_network(quantize(pruned.model, calibration, name="sparse"), config, pruned.patterns)
    accuracies = {
        "dense_float": accuracy(dense_float, test),
        "dense_int8": judge(dense_int8, test),
        "pruned_float": accuracy(pruned.model, test),
        "pruned_int8": judge(sparse_int8, test),
    }

    # Run every product of both networks on the RTL, for the same images.
    chosen = np.random.default_rng(options.seed).permutation(len(test))[: options.images]
    images = dense_int8.quantize_input(normalize(test.images[chosen]))
    with draw_progress(console) as progress:
        dense_runs = run_with_progress(dense_int8, images, simulator, progress)
        sparse_runs = run_with_progress(sparse_int8, images, simulator, progress)
    comparison = compare_networks(dense_int8, dense_runs, sparse_runs, config.macs)

    record = {
        **provenance(options.command, options.seed),
        "network": metadata["architecture"],
        "data": dataset.name,
        "classes": names,
        "config": {"name": options.config, **dataclasses.asdict(config), "on_chip_bytes": config.on_chip_bytes},
        "pattern": f"{prune_options.n}:{prune_options.group}, B = {prune_options.block}",
        "sparsity": pruned.sparsity,
        "images": options.images,
        "test_images": len(test),
        "accuracy": accuracies,
        **comparison.to_dict(),
        "prune_seconds": pruned.seconds,
        "simulation_seconds": sum(run.seconds for run in [*dense_runs, *sparse_runs]),
        "seconds": time.monotonic() - started,
    }
    write_json(options.output / "demo.json", record)
    title = f"{metadata['architecture']} for {', '.join(names)}: {pruned.sparsity:.1%} sparse, {config.rows}x{config.columns} array"
    draw_layers(comparison, title, options.output / "demo.png")
    show(comparison, accuracies, options, record, console)
    return DemoResult(comparison=comparison, accuracies=accuracies, record=record)


def judge(network: Network, test: Split) -> float:
    """Return the share of test images that an integer network names rightly."""
    images = network.quantize_input(normalize(test.images))
    return float(np.mean(network.classify(images) == test.labels))


def run_with_progress(network: Network, images: np.ndarray, simulator: "EngineSimulator", progress: Report) -> list[LayerRun]:
    """Run a network on the RTL, a step of progress a layer."""
    total, done = len(network.products), 0

    def report(run: LayerRun) -> None:
        nonlocal done
        done += 1
        progress(f"RTL, {network.name}", done, total, f"{run.layer.name}: {'bits equal' if run.bits_equal else 'BITS DIFFER'}")

    _, runs = run_network(network, images, simulator, report)
    return runs


def show(comparison: Comparison, accuracies: dict[str, float], options: DemoOptions, record: dict[str, Any], console: Console) -> None:
    """Print the tables and what they add up to."""
    console.print(layer_table(comparison, f"Cycles of every layer on the RTL, {options.images} images"))
    console.print(accuracy_table(accuracies, record["test_images"]))
    console.print(
        f"{record['sparsity']:.1%} of the pruned layers' weights are zero. Dense {comparison.cycles_dense:,} cycles, sparse "
        f"{comparison.cycles_sparse:,}: [bold]{comparison.speedup:.2f}x[/] faster; skipping alone could give "
        f"{1 / comparison.density:.2f}x. Utilization {comparison.utilization_dense:.1%} dense, {comparison.utilization:.1%} sparse."
    )
    verdict = "[bold green]Every output bit of the RTL equals the golden model's.[/]"
    console.print(verdict if comparison.bits_equal else "[bold red]RTL and golden model DIFFER: see the table.[/]")
    console.print(f"Record and chart: {options.output / 'demo.json'}, {options.output / 'demo.png'}")
