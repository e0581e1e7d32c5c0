"""From a trained network and three classes to integers for the machine: prune, quantize, export as ONNX, import, run.

Run it from the top of the repository:

    python examples/prune_quantize_compile.py --classes 0 3 7

``--quick`` prunes on a tenth of the images, to see the way rather than the result.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch

from crisp.arch import Config
from crisp.data import Dataset, load_dataset
from crisp.golden.network import Network
from crisp.models import accuracy, load_checkpoint, select_classes
from crisp.progress import draw_progress
from crisp.prune import PruneOptions, prune
from crisp.quantize import quantize, to_network

CHECKPOINT = Path(__file__).parents[1] / "checkpoints/resnet20-fashion-mnist.safetensors"
CALIBRATION_IMAGES = 512


def main() -> None:
    """Read the options and print what became of the network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[0, 3, 7], help="labels of the classes that the user meets")
    parser.add_argument("--data", help="folder with Fashion-MNIST; found or fetched when it is not given")
    parser.add_argument("--quick", action="store_true", help="prune on a tenth of the images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = PruneOptions()
    if arguments.quick:
        options = dataclasses.replace(options, iterations=2, iteration_images=512, final_images=2048, saliency_images=256)
    run(load_dataset(arguments.data, tell=print), CHECKPOINT, arguments.classes, options, Config.preset("default"))


def run(data: Dataset, checkpoint: Path, classes: list[int], options: PruneOptions, config: Config) -> Network:
    """Prune the network in ``checkpoint`` for ``classes`` and return it in integers, packed for ``config``."""
    model, metadata = load_checkpoint(checkpoint)
    dense = select_classes(model, classes)
    training, test = data.training_and_validation()[0].select(classes), data.test.select(classes)
    print(f"{data.name}: {', '.join(data.classes[label] for label in classes)}; {metadata['architecture']}")

    with draw_progress() as report:
        pruned = prune(model, data, classes, options, report)
    drawn = np.random.default_rng(options.seed).permutation(len(training))[:CALIBRATION_IMAGES]  # folders come class by class
    calibration = training.take(drawn).inputs()
    quantized_dense = quantize(dense, calibration, name="dense")
    quantized_pruned = quantize(pruned.model, calibration, name="pruned")
    networks = {
        "dense": to_network(quantized_dense, config),
        "pruned": to_network(quantized_pruned, config, pruned.patterns),
    }

    print(f"{pruned.sparsity:.1%} of the pruned layers' weights are zero, after {pruned.seconds:.0f} s")
    for name, network in networks.items():
        started = time.monotonic()
        right = np.mean(network.classify(network.quantize_input(test.inputs())) == test.labels)
        floats = accuracy(dense if name == "dense" else pruned.model, test)
        steps = steps_per_image(network, config)
        print(f"{name:7} float {floats:.2%}  int8 {right:.2%}  {steps:9,} steps an image  ({time.monotonic() - started:.0f} s)")
    return networks["pruned"]


def steps_per_image(network: Network, config: Config) -> int:
    """Return the steps, one a cycle, that the array takes for an image, were every tile of pixels full."""
    pixels: dict[str, int] = {}
    side = np.zeros((1, 28, 28, 1), np.int8)
    network.run(side, observe=lambda node, inputs, output: pixels.update({node.name: output.shape[1] * output.shape[2]}))
    return sum(-(-pixels[product.name] // config.columns) * product.layer.steps for product in network.products)


if __name__ == "__main__":
    main()
