"""Run whole networks on the simulated machine, dense and sparse, and hold every output against the golden models."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from crisp.compile.compile import Compilation, schedule_network
from crisp.compile.operator import Kind, Operator
from crisp.golden.network import Network, exact_product
from crisp.report import Comparison, LayerRecord
from crisp.runtime import Accelerator, LayerReport, RunResult

__all__ = ["CheckedRun", "Progress", "check_layers", "compare_networks", "run_checked", "run_images", "up_to"]

#: Called with commands that are complete, and all of them.
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedRun:
    """A network as the machine computed it for an image, or for the images of a batch.

    Parameters
    ----------
    compilation : Compilation
        What ran.
    result : RunResult
        Outputs, cycles, counters.
    bits_equal : bool
        Whether every byte of the output equals the golden machine's and the network's.
    """

    compilation: Compilation
    result: RunResult
    bits_equal: bool


def run_checked(
    network: Network, compilation: Compilation, image: np.ndarray, accelerator: Accelerator, progress: Progress | None = None
) -> CheckedRun:
    """Run a compiled network, and compare its output with two golden models.

    One is the golden machine, which carries out the same commands; the other the network itself, which knows nothing of them.

    Parameters
    ----------
    network : Network
        What was compiled.
    compilation : Compilation
        Its program.
    image : numpy.ndarray
        ``int8`` of shape (N, H, W, C), of as many images as the program computes.
    accelerator : Accelerator
        The machine.
    progress : callable, optional
        Called now and then.

    Raises
    ------
    CrispError
        When the machine stops at an error.
    """
    program = compilation.program
    inputs = {program.inputs[0].name: image}
    result = accelerator.run(program, inputs, progress=progress)
    (output,) = result.outputs.values()
    (golden,) = Accelerator(program.config, backend="golden").run(program, inputs).outputs.values()
    expected = network.run(image, product=exact_product)
    return CheckedRun(
        compilation=compilation, result=result, bits_equal=np.array_equal(output, golden) and np.array_equal(output, expected)
    )


def run_images(
    network: Network, images: np.ndarray, accelerator: Accelerator, report: Callable[[int, CheckedRun], None] = lambda number, run: None
) -> list[CheckedRun]:
    """Compile a network and run it for every image.

    Parameters
    ----------
    network : Network
        Packed for the machine's configuration.
    images : numpy.ndarray
        ``int8`` of shape (N, H, W, C).
    accelerator : Accelerator
        The machine.
    report : callable
        Called after every image, with the number of images done.

    Raises
    ------
    CrispError
        When the network does not fit the machine, or that stops at an error.
    """
    _, height, width, channels = images.shape
    compilation = schedule_network(network, accelerator.config, (height, width, channels))
    runs = []
    for number in range(len(images)):
        runs.append(run_checked(network, compilation, images[number : number + 1], accelerator))
        report(number + 1, runs[-1])
    return runs


def up_to(network: Network, name: str) -> Network:
    """Return the part of a network that computes node ``name``, which becomes its output."""
    needed, nodes = {name}, []
    for node in reversed(network.nodes):
        if node.name in needed:
            nodes.append(node)
            needed.update(node.inputs)
    return dataclasses.replace(network, nodes=nodes[::-1])


def check_layers(
    network: Network,
    operators: Sequence[Operator],
    image: np.ndarray,
    accelerator: Accelerator,
    report: Callable[[str, bool], None] = lambda name, equal: None,
) -> dict[str, bool]:
    """Compare what every layer leaves on chip: for each the network is compiled and run up to it, and what it stores is compared.

    Parameters
    ----------
    network : Network
        Packed for the machine's configuration.
    operators : sequence of Operator
        The layers of its program.
    image : numpy.ndarray
        ``int8`` of shape (1, H, W, C).
    accelerator : Accelerator
        The machine.
    report : callable
        Called after every layer.

    Returns
    -------
    dict
        Whether every byte is the golden models', by the layer's name.
    """
    equal = {}
    for operator in operators:
        part = up_to(network, operator.name)
        (run,) = run_images(part, image, accelerator)
        equal[operator.name] = run.bits_equal
        report(operator.name, run.bits_equal)
    return equal


def compare_networks(dense: Sequence[CheckedRun], sparse: Sequence[CheckedRun], layers_equal: dict[str, bool]) -> Comparison:
    """Put the dense and the sparse run of a network side by side.

    Parameters
    ----------
    dense, sparse : sequence of CheckedRun
        A run an image.
    layers_equal : dict
        What `check_layers` returned for the sparse network.
    """
    plan = sparse[0].compilation.plan
    images = len(sparse)
    before, after = (sum_layers([run.result for run in runs]) for runs in (dense, sparse))
    operators = {operator.name: operator for operator in plan.operators}
    records = []
    for operator in dense[0].compilation.plan.operators:
        pruned = operators[operator.name]
        blocks, blocks_kept = count_blocks(pruned)
        pixels = operator.output.pixels
        records.append(
            LayerRecord(
                name=operator.name,
                operation=before[operator.name].operation,
                outputs=operator.output.channels,
                inputs=operator.macs // (operator.output.channels * pixels) or len(operator.taps),
                pixels=pixels * images,
                blocks=blocks,
                blocks_kept=blocks_kept,
                macs=operator.macs * images,
                kept_macs=pruned.kept_macs * images,
                cycles_dense=before[operator.name].cycles,
                cycles_sparse=after[operator.name].cycles,
                counters_dense=dict(before[operator.name].counters),
                counters_sparse=dict(after[operator.name].counters),
                bits_equal=layers_equal[operator.name],
            )
        )
    return Comparison(
        layers=tuple(records),
        array_macs=plan.config.macs,
        counters_dense=sum_counters([run.result.counters for run in dense]),
        counters_sparse=sum_counters([run.result.counters for run in sparse]),
        outputs_equal=all(run.bits_equal for run in (*dense, *sparse)),
    )


def count_blocks(operator: Operator) -> tuple[int, int]:
    """Return the blocks of a layer's weights, and those kept; of layers that have no matrix of their own 0."""
    if operator.layer is None or operator.kind is not Kind.PRODUCT:
        return 0, 0
    pattern = operator.layer.packed.pattern
    return int(pattern.n.size), int(pattern.kept.sum())


def sum_layers(results: Sequence[RunResult]) -> dict[str, LayerReport]:
    """Return the layers of several runs of a program, added up, by their names."""
    return {
        layers[0].name: dataclasses.replace(
            layers[0], cycles=sum(layer.cycles for layer in layers), counters=sum_counters([dict(layer.counters) for layer in layers])
        )
        for layers in zip(*(result.layers for result in results), strict=True)
    }


def sum_counters(counters: Sequence[dict[str, int]]) -> dict[str, int]:
    """Return the sum of the counters of several runs."""
    return {name: sum(values[name] for values in counters) for name in counters[0]}
