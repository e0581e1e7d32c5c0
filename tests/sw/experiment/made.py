"""Records that no experiment made: accuracies follow a formula, so that pictures and tables of them can be judged."""

from typing import Any

import numpy as np

from crisp.experiment.methods import METHODS
from crisp.experiment.records import collect

NETWORKS = {"resnet20": 1.6, "vgg16-quarter": 0.5, "mobilenetv2-half": 2.2}
#: How much a method loses, and how much faster it is than its sparsity says.
LOSS = {
    "unstructured": (0.3, 0.2),
    "nm": (0.5, 1.0),
    "block": (1.9, 1.0),
    "channel": (2.3, 0.9),
    "crisp": (1.5, 0.7),
    "crisp-random": (1.7, 0.7),
    "crisp-published": (2.1, 0.7),
    "hybrid-random": (1.1, 0.95),
    "hybrid": (0.8, 1.0),
}
LAYERS = [f"layer{stage}.{block}.conv{number}" for stage in (1, 2, 3) for block in (0, 1, 2) for number in (1, 2)]


def made_records(
    networks=tuple(NETWORKS), sizes=(2, 3, 5), sets=3, seeds=3, kind="cycles-of", values=(0.8, 0.85, 0.9, 0.92, 0.95)
) -> list[dict[str, Any]]:
    """Return records of a whole grid."""
    random = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for network in networks:
        for size in sizes:
            for number in range(sets):
                classes = [f"class {number + place}" for place in range(size)]
                ease = random.normal(scale=0.5)
                for seed in range(1, seeds + 1):
                    dense = 0.97 - 0.012 * min(size, 20) + random.normal(scale=0.003)
                    cell = {"network": network, "classes": classes, "class_set": f"{size}-{number}", "seed": seed}
                    found.append(record(**cell, method="dense", level=None, top1=dense, sparsity=0.0, speedup=1.0))
                    for method, (loss, speed) in LOSS.items():
                        if method not in METHODS:
                            continue
                        for value in values:
                            points = NETWORKS[network] * loss * (value / (1 - value) / 9) ** 0.9 * (1 + 0.3 * ease) + random.normal(
                                scale=0.15
                            )
                            top1 = None if method == "nm" and value > 0.75 else dense - points / 100
                            level = {"kind": kind, "value": value}
                            found.append(
                                record(**cell, method=method, level=level, top1=top1, sparsity=value, speedup=1 / (1 - value) ** speed)
                            )
    return collect(found)


def record(*, network, classes, class_set, seed, method, level, top1, sparsity, speedup) -> dict[str, Any]:
    """Return a record."""
    none = top1 is None
    density = 1 - sparsity
    random = np.random.default_rng([seed, len(method)])
    shares = np.clip(density * np.linspace(1.8, 0.6, len(LAYERS)) * random.uniform(0.9, 1.1, len(LAYERS)), 0.02, 1)
    return {
        "network": network,
        "data": "made",
        "classes": classes,
        "class_set": class_set,
        "method": method,
        "base_method": method,
        "level": level,
        "pattern": "dense" if method == "dense" else "2:4",
        "block": 16,
        "sparsity": None if none else sparsity,
        "macs_kept": None if none else density,
        "cycles": None if none else int(140_000 / speedup),
        "cycles_dense": 140_000,
        "cycles_asked": None,
        "config": "default",
        "seed": seed,
        "split": "test",
        "images": 2000,
        "top1_base": 0.95,
        "top1_dense": None,
        "top1_float": top1,
        "top1_int8": None if none else top1 - 0.001,
        "kept_share": None if none else 1 - 0.4 * sparsity - 0.04 * LOSS.get(method, (0, 0))[0],
        "layers": None
        if none
        else [
            {"name": name, "blocks": 36, "kept_blocks": round(36 * min(1, 2 * share)), "density": float(share)}
            for name, share in zip(LAYERS, shares, strict=True)
        ],
        "seconds": 60.0,
        "note": "out of reach" if none else "",
        "options": {},
        "command": "made",
        "commit": "abc",
    }
