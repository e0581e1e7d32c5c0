"""Records of whole networks: what they gain over the dense network, and the files that hold them."""

import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crisp.networks import NETWORKS
from crisp.report import draw_networks, write_json, write_json_lines

__all__ = ["read_records", "record_key", "with_speedups", "write_records"]

#: Fields that tell a record from all others.
KEY = ("network", "config", "batch", "asked_density")

#: Channels, and entries of K, from which on a convolution counts among the large ones.
LARGE = 64


def record_key(record: Mapping[str, Any]) -> tuple[str, str, int, float]:
    """Return the key of the case that a record is about."""
    return record["network"], record["config"], record["batch"], record["asked_density"]


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
            layers = [{**layer, "speedup_over_dense": None} for layer in record["layers"]]
            result.append({**record, "speedup_over_dense": None, "large_layer_speedups": None, "layers": layers})
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
