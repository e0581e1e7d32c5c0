"""Run a network's products on the simulated hardware, dense and sparse, and hold every output against the golden model."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from crisp.arch import ProductLayer
from crisp.golden.engine import run_layer
from crisp.golden.network import Network
from crisp.report import Comparison, LayerRecord

if TYPE_CHECKING:
    from crisp_sim.harness import EngineSimulator

__all__ = ["LayerRun", "compare_networks", "run_network"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerRun:
    """A layer as the hardware computed it.

    Parameters
    ----------
    layer : ProductLayer
        The layer.
    pixels : int
        P.
    counters : dict
        The machine's counters.
    bits_equal : bool
        Whether every output equals the golden model's.
    seconds : float
        Wall-clock time of the simulation.
    """

    layer: ProductLayer
    pixels: int
    counters: dict[str, int]
    bits_equal: bool
    seconds: float


def run_network(
    network: Network,
    images: np.ndarray,
    simulator: "EngineSimulator",
    report: Callable[[LayerRun], None] = lambda run: None,
) -> tuple[np.ndarray, list[LayerRun]]:
    """Run a network whose products the simulated engine computes; each also by the golden model, on the same input.

    The hardware's outputs, not the golden model's, go on to the next layer.

    Parameters
    ----------
    network : Network
        Packed for the simulator's configuration.
    images : numpy.ndarray
        ``int8`` of shape (N, H, W, C).
    simulator : EngineSimulator
        The hardware.
    report : callable
        Called after every layer.

    Returns
    -------
    output : numpy.ndarray
        ``int8`` of shape (N, H, W, C) of the last node.
    runs : list of LayerRun
        One a product, in order.

    Raises
    ------
    CrispError
        When a layer does not fit the hardware, or the simulation stands still.
    """
    runs: list[LayerRun] = []

    def product(layer: ProductLayer, x: np.ndarray) -> np.ndarray:
        run = simulator.run(layer, x)
        equal = bool(np.array_equal(run.output, run_layer(layer, x)))
        counters = dataclasses.asdict(run.counters)
        runs.append(LayerRun(layer=layer, pixels=x.shape[1], counters=counters, bits_equal=equal, seconds=run.seconds))
        report(runs[-1])
        return run.output

    return network.run(images, product=product), runs


def compare_networks(dense: Network, dense_runs: list[LayerRun], sparse_runs: list[LayerRun], array_macs: int) -> Comparison:
    """Put the dense and the sparse run of a network side by side.

    Parameters
    ----------
    dense : Network
        The dense network, for the sizes of its weights without padding.
    dense_runs, sparse_runs : list of LayerRun
        As `run_network` returned them.
    array_macs : int
        Multipliers of the array.
    """
    records = []
    for node, before, after in zip(dense.products, dense_runs, sparse_runs, strict=True):
        pattern = after.layer.packed.pattern
        convolution = node.convolution
        inputs = convolution.kernel[0] * convolution.kernel[1] * convolution.channels
        records.append(
            LayerRecord(
                name=node.name,
                outputs=node.layer.num_channels,
                inputs=inputs,
                pixels=after.pixels,
                density=pattern.density,
                blocks=pattern.n.size,
                blocks_kept=int(pattern.kept.sum()),
                macs=node.layer.num_channels * inputs * after.pixels,
                counters_dense=before.counters,
                counters_sparse=after.counters,
                bits_equal=before.bits_equal and after.bits_equal,
            )
        )
    return Comparison(layers=tuple(records), array_macs=array_macs)
