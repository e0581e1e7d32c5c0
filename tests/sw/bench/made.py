"""Networks and records that tests of benchmarks share."""

import numpy as np

from crisp.arch import Pattern, ProductLayer, pack
from crisp.golden import Convolution
from crisp.golden.network import Network, Product


def convolution_network(channels: int, size: int, layers: int, *, density: float = 1.0) -> Network:
    """Return 1x1 convolutions one behind the other."""
    nodes, source = [], "image"
    for number in range(layers):
        blocks = np.full((channels // 16, channels // 16), 4 if density == 1 else 0, np.uint8)
        if density < 1:
            blocks[:, 0] = 2
        pattern = Pattern((channels, channels), 16, 4, blocks)
        weights = np.ones((channels, channels // 4, 4), np.int8)
        limit = np.repeat(np.repeat(blocks, 16, axis=0), 4, axis=1)
        weights[np.arange(4) >= limit[:, :, None]] = 0
        layer = ProductLayer(
            name=f"layer{number}",
            packed=pack(weights.reshape(channels, channels), pattern, rows=16),
            bias=np.zeros(channels, np.int32),
            multiplier=np.full(channels, 40000, np.uint16),
            shift=np.full(channels, 22, np.uint8),
        )
        nodes.append(
            Product(name=layer.name, inputs=(source,), layer=layer, convolution=Convolution(channels=channels), input_zero_point=0)
        )
        source = layer.name
    return Network(
        name="net", nodes=nodes, input_scale=1.0, input_zero_point=0, output_scale=1.0, output_zero_point=0, input_name="image",
        image=(size, size, channels),
    )  # fmt: skip


def record(
    network: str = "resnet20-fashion", config: str = "default", density: float = 1.0, cycles: int = 1000, rtl: str = "a", batch: int = 1
) -> dict:
    shapes = {"first": [64, 64, 49], "conv": [64, 64, 49], "small": [64, 32, 49], "fc": [64, 64, 1]}
    layers = [{"name": name, "kind": "product", "shape": shape, "macs": 100, "cycles": cycles // 10} for name, shape in shapes.items()]
    layers = [{**layer, "kept_macs": 100 if layer["name"] == "first" else round(100 * density)} for layer in layers]
    return {
        "network": network,
        "config": config,
        "batch": batch,
        "pattern": "dense" if density == 1 else "2:4",
        "asked_density": density,
        "density": density,
        "cycles": cycles,
        "dense_macs": 1000,
        "kept_macs": round(1000 * density),
        "utilization": 0.5,
        "bits_equal": True,
        "digests": {"rtl": rtl, "program": "p"},
        "layers": layers,
    }
