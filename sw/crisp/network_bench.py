"""Whole networks on the simulated machine: each runs for a real picture, every byte is compared, and what it took is recorded."""

import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import queue
import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from crisp.arch import Config, CrispError
from crisp.bench import BenchError
from crisp.comparison import run_checked
from crisp.compile import import_onnx
from crisp.compile.compile import Compilation, schedule_network
from crisp.compile.operator import Kind, Operator
from crisp.data import load_dataset, load_pictures, normalize, normalize_colours
from crisp.networks import NETWORKS, NetworkError, Sparsity, build_network
from crisp.progress import Report, draw_progress, silent
from crisp.quantize import export_onnx
from crisp.report import draw_networks, provenance, write_json, write_json_lines
from crisp.runtime import Accelerator, LayerReport

__all__ = [
    "Case",
    "bench_cases",
    "compulsory_bytes",
    "least_bytes",
    "measure",
    "read_records",
    "record_key",
    "select_cases",
    "with_speedups",
]

#: Networks that are measured, those that take longest first: two run at a time.
MEASURED = ("vgg16-224", "resnet50-224", "efficientnet-lite0-224", "mobilenetv2-224", "resnet50-32", "resnet20-fashion")

#: Densities of the pruned layers; of 1 none is pruned.
DENSITIES = (1.0, 0.1, 0.08)

#: Sparsest pattern, only where layers are large.
SPARSEST = 0.07

#: What is measured where nothing is named: networks, preset, densities, images of a program.
SHOWN: tuple[tuple[Sequence[str], str, Sequence[float], int], ...] = (
    (MEASURED, "default", DENSITIES, 1),
    (("resnet50-224", "resnet50-32"), "default", (SPARSEST,), 1),
    (("vgg16-224", "resnet50-224"), "default", (0.1,), 4),
    (MEASURED, "edge", (1.0, 0.1), 1),
    (("resnet50-224",), "edge", (0.08, SPARSEST), 1),
    (("resnet50-224",), "duo", (1.0, 0.1), 1),
    (("resnet50-224",), "quad", (1.0, 0.1), 1),
)

#: Pictures to calibrate with; the next ones are the input.
CALIBRATION_IMAGES = 8

#: Built networks, by what they are made from.
MODELS = Path("build/networks")

#: Fields that tell a record from all others.
KEY = ("network", "config", "batch", "asked_density")

#: Channels, and entries of K, from which on a convolution counts among the large ones.
LARGE = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What one record is about.

    Parameters
    ----------
    network : str
        One of `crisp.networks.NETWORKS`.
    config : str
        Preset of the machine.
    density : float
        Share of the weights of pruned layers that stays; 1 prunes none.
    batch : int
        Images that the program computes.
    """

    network: str
    config: str = "default"
    density: float = 1.0
    batch: int = 1

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise NetworkError(f"network must be one of {', '.join(NETWORKS)}, not {self.network!r}")
        Config.preset(self.config)  # checks the name
        if self.batch < 1:
            raise BenchError(f"batch must be at least 1 image, not {self.batch}")
        if self.density != 1:
            Sparsity(density=self.density)

    @property
    def sparsity(self) -> Sparsity | None:
        """The pattern, none where the network stays dense."""
        return None if self.density == 1 else Sparsity(density=self.density)

    @property
    def pattern(self) -> str:
        """The pattern in a few characters."""
        sparsity = self.sparsity
        return "dense" if sparsity is None else f"{sparsity.n}:{sparsity.group}"

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What tells it from all others."""
        return self.network, self.config, self.batch, self.density

    def __str__(self) -> str:
        images = "" if self.batch == 1 else f", {self.batch} images"
        return f"{self.network}, {self.config}, {'dense' if self.density == 1 else f'{self.pattern} {self.density:.0%}'}{images}"


def select_cases(
    networks: Sequence[str] = (), configs: Sequence[str] = (), densities: Sequence[float] = (), batches: Sequence[int] = ()
) -> list[Case]:
    """Return what is to be measured, what takes longest first.

    Parameters
    ----------
    networks, configs : sequence of str
        Only these; empty takes those that are shown.
    densities : sequence of float
        Likewise.
    batches : sequence of int
        Images of each program, likewise. Where networks and configs are both named, all are measured on all, shown or not.

    Raises
    ------
    BenchError, NetworkError, ConfigError
        When there is no such network, preset, pattern or batch.
    """
    if networks and configs:
        chosen = [
            Case(network=network, config=config, density=density, batch=batch)
            for network in networks
            for config in configs
            for density in densities or DENSITIES
            for batch in batches or (1,)
        ]
    else:
        # Each name is checked, also where it is in no case that is shown.
        for network, config, density, batch in itertools.zip_longest(networks, configs, densities, batches):
            Case(
                network=MEASURED[0] if network is None else network,
                config="default" if config is None else config,
                density=1.0 if density is None else density,
                batch=1 if batch is None else batch,
            )
        shown = (
            Case(network=network, config=config, density=density, batch=batch)
            for some, config, values, batch in SHOWN
            for network in some
            for density in values
        )
        chosen = [
            case
            for case in shown
            if case.network in (networks or [case.network])
            and case.config in (configs or [case.config])
            and case.density in (densities or [case.density])
            and case.batch in (batches or [case.batch])
        ]
    order = list(dict.fromkeys((*MEASURED, *NETWORKS)))
    return sorted(chosen, key=lambda case: (-case.density, order.index(case.network)))


def load_model(case: Case, seed: int) -> tuple[bytes, float, np.ndarray]:
    """Return a network as ONNX, the density of its pruned layers, and the input, float32 [N, C, H, W].

    What was built is kept, by the sources that build it. Pictures that are none of those to calibrate with are the input, in turn.
    """
    spec = NETWORKS[case.network]
    if spec.architecture == "resnet20":
        clothes = load_dataset("fashion-mnist")
        pictures = np.concatenate([clothes.train.take(slice(CALIBRATION_IMAGES)).pixels(), clothes.test.take(slice(case.batch)).pixels()])
        scaled = normalize(pictures)
    else:
        scaled = normalize_colours(load_pictures(size=spec.input_size).images)
    images = scaled[: CALIBRATION_IMAGES + 1]
    folder = Path(__file__).parent
    sources = [folder / "networks.py", *(path for name in ("models", "prune", "quantize") for path in sorted((folder / name).glob("*.py")))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + images.tobytes())
    stem = f"{case.network}-{case.density:g}-{seed}-{digest.hexdigest()[:16]}"
    model, description = (MODELS / f"{stem}.{kind}" for kind in ("onnx", "json"))
    if not description.is_file():
        built = build_network(case.network, case.sparsity, seed=seed, images=images[:CALIBRATION_IMAGES])
        sparsity = case.sparsity
        data = (
            export_onnx(built.quantized) if sparsity is None else export_onnx(built.quantized, block=sparsity.block, group=sparsity.group)
        )
        MODELS.mkdir(parents=True, exist_ok=True)
        temporary = MODELS / f"{stem}.{os.getpid()}.part"
        temporary.write_bytes(data)
        temporary.replace(model)
        write_json(description, {"density": built.density})
    rest = np.arange(CALIBRATION_IMAGES, len(scaled))
    return model.read_bytes(), json.loads(description.read_text())["density"], scaled[np.resize(rest, case.batch)]


def measure(case: Case, seed: int, known: Mapping[str, str] | None = None, tell: Report = silent) -> dict[str, Any] | None:
    """Build, compile, run on the golden machine and on the RTL, and compare.

    Parameters
    ----------
    case : Case
        What to measure.
    seed : int
        Of the weights, where they are not trained.
    known : mapping, optional
        Digests of the record that there is.
    tell : callable
        Told how far it has come.

    Returns
    -------
    dict or None
        The record; None where ``known`` is of the same RTL and the same program for the same input.

    Raises
    ------
    CrispError
        When something cannot be had, does not fit, or the machine stops at an error.
    """
    from crisp_sim.machine import MemoryModel
    from crisp_sim.machine_build import describe_machine

    stage = str(case)
    torch.set_num_threads(1)
    config, memory = Config.preset(case.config), MemoryModel()
    tell(stage, 0, 1, "build")
    model, density, image = load_model(case, seed)
    tell(stage, 0, 1, "compile")
    network = import_onnx(model, config)
    height, width = image.shape[2:]
    compilation = schedule_network(network, config, (height, width, image.shape[1]), batch=case.batch)
    inputs = network.quantize_input(image)
    digests = {
        "rtl": digest(describe_machine(config)[0].encode()),
        "program": digest(compilation.program.commands, compilation.program.constants, inputs.tobytes()),
    }
    if known == digests:
        tell(stage, 1, 1, "measured before")
        return None
    accelerator = Accelerator(config, memory=memory, log=lambda text: tell(stage, 0, 1, text))
    run = run_checked(
        network, compilation, inputs, accelerator, lambda done, total: tell(stage, done, total, f"{done} of {total} commands")
    )
    result, operators = run.result, compilation.plan.operators
    images = {layer.name: [operator for operator in operators if operator.report_name == layer.name] for layer in result.layers}
    layers = [describe_layer(images[layer.name], layer) for layer in result.layers]
    kept = sum(operator.kept_macs for operator in operators)
    cycles = result.counters["cycles"]
    return {
        "network": case.network,
        "config": case.config,
        "batch": case.batch,
        "pattern": case.pattern,
        "asked_density": case.density,
        "density": density,
        "weights": "trained" if NETWORKS[case.network].trained else "seeded initial weights",
        "cycles": cycles,
        "predicted_cycles": compilation.program.info["predicted_cycles"],
        "dense_macs": sum(operator.macs for operator in operators),
        "kept_macs": kept,
        "utilization": kept / (config.macs * cycles),
        "dram_bytes": result.counters["bytes_read"] + result.counters["bytes_written"],
        "least_bytes": least_bytes(compilation),
        "compulsory_bytes": compulsory_bytes(compilation),
        "bits_equal": run.bits_equal,
        "simulation_seconds": round(result.seconds, 1),
        "axi_bits": config.axi_data_width,
        "on_chip_bytes": config.on_chip_bytes,
        "memory": dataclasses.asdict(memory),
        "counters": result.counters,
        "digests": digests,
        "depthwise_utilization": depthwise_utilization(layers, config),
        "layers": layers,
        **provenance(
            f"crisp bench --only networks --networks {case.network} --configs {case.config} --densities {case.density}"
            + (f" --batches {case.batch}" if case.batch > 1 else ""),
            seed,
        ),
    }


def digest(*parts: bytes) -> str:
    """Return a hash of what was run."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def record_key(record: Mapping[str, Any]) -> tuple[str, str, int, float]:
    """Return the key of the case that a record is about."""
    return record["network"], record["config"], record["batch"], record["asked_density"]


def depthwise_utilization(layers: Sequence[Mapping[str, Any]], config: Config) -> float | None:
    """Return the share of the multipliers' cycles that the products of depthwise convolutions used, None where there are none."""
    depthwise = [layer for layer in layers if layer["kind"] == "depthwise" and layer["macs"]]
    cycles = sum(layer["cycles"] for layer in depthwise)
    return sum(layer["macs"] for layer in depthwise) / (config.macs * cycles) if cycles else None


def least_bytes(compilation: Compilation) -> int:
    """Return the bytes that must go over the bus however much is kept on chip.

    These are the network's input and output once, and its weights once as they are packed: values and offsets, neither counts nor
    indices nor scales nor commands.
    """
    plan = compilation.plan
    weighted = {op.report_name: op.name for op in plan.operators if op.kind in (Kind.PRODUCT, Kind.DEPTHWISE) and op.macs}
    weights = sum(len(share.steps) for name in weighted.values() for chunk in plan.chunks[name] for share in chunk.shares)
    return weights + sum(tensor.pixels * tensor.channels for tensor in (*plan.sources, *plan.outputs))


def compulsory_bytes(compilation: Compilation) -> int:
    """Return the bytes that must go over the bus where one layer is computed after the other.

    These are `least_bytes`, and each tensor between layers that is larger than the whole activation buffer once out and once in. Where
    layers are computed together, stripe by stripe, such a tensor is never there as a whole, and it can be less.
    """
    plan = compilation.plan
    group, room = plan.config.group_size, plan.config.activation_words
    inner = [operator.output for operator in plan.operators if operator.output not in plan.outputs]
    large = [tensor for tensor in inner if tensor.planes(group) * tensor.pixels > room]
    return least_bytes(compilation) + 2 * sum(tensor.pixels * tensor.channels for tensor in large)


def describe_layer(operators: Sequence[Operator], layer: LayerReport) -> dict[str, Any]:
    """Return what is recorded of a layer: all its images together, whether each has an operator of its own or not; its shape is of one."""
    operator, macs = operators[0], sum(operator.macs for operator in operators)
    outputs, pixels = operator.output.channels, operator.output.pixels // operator.output.images
    batch = sum(operator.output.images if operator.image is None else 1 for operator in operators)
    return {
        "name": layer.name,
        "operation": layer.operation,
        "kind": operator.kind.name.lower(),
        "shape": [outputs, macs // (outputs * pixels * batch) or len(operator.taps), pixels],
        "macs": macs,
        "kept_macs": sum(operator.kept_macs for operator in operators),
        "cycles": layer.cycles,
        "predicted_cycles": layer.predicted_cycles,
        **layer.counters,
    }


def with_speedups(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the speed-ups of networks and layers over the dense network, where that was run on the same machine.

    ``large_layer_speedups`` are least, median and largest among the pruned convolutions with at least 64 channels and entries of K.
    """
    records = list(records)
    dense = {record_key(record)[:3]: record for record in records if record["asked_density"] == 1}
    result = []
    for record in records:
        before = dense.get(record_key(record)[:3])
        if before is None or before["digests"]["rtl"] != record["digests"]["rtl"]:
            result.append({**record, "speedup_over_dense": None, "large_layer_speedups": None})
            continue
        cycles = {layer["name"]: layer["cycles"] for layer in before["layers"]}
        layers = [{**layer, "speedup_over_dense": over_dense(layer, cycles)} for layer in record["layers"]]
        large = sorted(layer["speedup_over_dense"] for layer in layers if is_large(layer) and is_pruned(layer))
        spread = {"layers": len(large), "least": large[0], "median": statistics.median(large), "largest": large[-1]} if large else None
        speedup = before["cycles"] / record["cycles"]
        result.append({**record, "speedup_over_dense": speedup, "large_layer_speedups": spread, "layers": layers})
    return result


def over_dense(layer: Mapping[str, Any], cycles: Mapping[str, int]) -> float | None:
    """Return a layer's speed-up over the dense network's of those ``cycles``; none of a copy of images that is not needed there."""
    return cycles[layer["name"]] / max(1, layer["cycles"]) if layer["name"] in cycles else None


def is_pruned(layer: Mapping[str, Any]) -> bool:
    """Tell whether a layer has fewer weights than the dense one."""
    return layer["kept_macs"] < layer["macs"]


def is_large(layer: Mapping[str, Any]) -> bool:
    """Tell whether a layer is a convolution, with more than a pixel, of many channels."""
    outputs, inputs, pixels = layer["shape"]
    return layer["kind"] == "product" and min(outputs, inputs) >= LARGE and pixels > 1


class Teller:
    """Reports another process how far work has come.

    Parameters
    ----------
    messages : queue
        Of the other process.
    """

    def __init__(self, messages: "queue.Queue[tuple[str, int, int, str]]") -> None:
        self.messages = messages

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        self.messages.put((stage, done, total, note))


def measure_safely(case: Case, seed: int, known: Mapping[str, str] | None, tell: Report) -> tuple[dict[str, Any] | None, str | None]:
    """Return what `measure` returns, or what went wrong: errors with more than a text do not come through between processes."""
    try:
        return measure(case, seed, known, tell), None
    except CrispError as error:
        return None, f"{case}: {error}"


def bench_cases(cases: Sequence[Case], output: Path, console: Console, *, seed: int = 1, jobs: int = 1) -> None:
    """Measure cases, and write each record as soon as there is one.

    ``networks.json`` has the records, ``layers.json`` their layers, one a line, ``networks.png`` a chart.

    Parameters
    ----------
    cases : sequence of Case
        What to measure; what was measured with this RTL and this program is left out.
    output : Path
        Folder for the results.
    console : Console
        Where progress goes.
    seed : int
        Of the weights, where they are not trained.
    jobs : int
        Processes that run at a time.

    Raises
    ------
    BenchError
        When a case could not be run, or a byte differs; all others have been run.
    """
    records = {record_key(record): record for record in read_records(output)}
    failures: list[str] = []
    context = multiprocessing.get_context("spawn")  # fork would copy PyTorch's threads in whatever state they are
    with (
        context.Manager() as manager,
        draw_progress(console) as progress,
        ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        messages = manager.Queue()
        running = {}
        for case in cases:
            known = records[case.key]["digests"] if case.key in records and records[case.key]["bits_equal"] else None
            running[pool.submit(measure_safely, case, seed, known, Teller(messages))] = case
        try:
            while running:
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                while not messages.empty():
                    progress(*messages.get())
                for future in done:
                    case = running.pop(future)
                    record, failure = future.result()
                    failures += [failure] if failure else []
                    if record is None:
                        continue
                    records[case.key] = record
                    write_records(output, records.values())
                    console.print(summary(case, record))
                    failures += [] if record["bits_equal"] else [f"{case}: bytes differ from the golden machine's"]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        raise BenchError("; ".join(failures))


def summary(case: Case, record: dict[str, Any]) -> str:
    """Return a line on a record."""
    each = "" if case.batch == 1 else f" ({record['cycles'] // case.batch:,} an image)"
    return (
        f"{case}: {record['cycles']:,} cycles{each}, utilization {record['utilization']:.1%}, "
        f"{record['dram_bytes'] / record['compulsory_bytes']:.2f} of the compulsory bytes, {record['simulation_seconds']:.0f} s, "
        f"{'every byte equal' if record['bits_equal'] else 'BYTES DIFFER'}"
    )


def read_records(output: Path) -> list[dict[str, Any]]:
    """Return the records of a folder, each with its layers."""
    if not (output / "networks.json").is_file():
        return []
    layers: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for layer in json.loads((output / "layers.json").read_text()):
        layers.setdefault(tuple(layer.pop(name) for name in KEY), []).append(layer)
    records = json.loads((output / "networks.json").read_text())
    return [{**record, "layers": layers[record_key(record)]} for record in records]


def write_records(output: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records, sorted, with their speed-ups."""
    places = {name: place for place, name in enumerate(NETWORKS)}
    result = sorted(
        with_speedups(records), key=lambda record: (places[record["network"]], *record_key(record)[1:3], -record["asked_density"])
    )
    layers = [{**{name: record[name] for name in KEY}, **layer} for record in result for layer in record["layers"]]
    write_json_lines(output / "layers.json", layers)
    draw_networks(result, output / "networks.png")
    write_json(output / "networks.json", [{name: value for name, value in record.items() if name != "layers"} for record in result])
