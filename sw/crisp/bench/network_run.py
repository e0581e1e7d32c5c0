"""A whole network on the simulated machine: it runs for a real picture, every byte is compared, and what it took is recorded."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from crisp.arch import Config
from crisp.comparison import run_checked
from crisp.compile import import_onnx
from crisp.compile.compile import schedule_network
from crisp.compile.operator import Operator
from crisp.networks import NETWORKS
from crisp.progress import Report, silent
from crisp.report import provenance
from crisp.runtime import Accelerator, LayerReport

from .network_bytes import compulsory_bytes, least_bytes
from .network_cases import Case
from .network_models import load_model

__all__ = ["measure"]


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


def depthwise_utilization(layers: Sequence[Mapping[str, Any]], config: Config) -> float | None:
    """Return the share of the multipliers' cycles that the products of depthwise convolutions used, None where there are none."""
    depthwise = [layer for layer in layers if layer["kind"] == "depthwise" and layer["macs"]]
    cycles = sum(layer["cycles"] for layer in depthwise)
    return sum(layer["macs"] for layer in depthwise) / (config.macs * cycles) if cycles else None
