"""A small experiment for tests."""

import copy
from pathlib import Path
from typing import Any

from crisp.experiment.file import read_experiment
from crisp.experiment.spec import Experiment

PATH = Path("small.toml")

TABLE: dict[str, Any] = {
    "name": "small",
    "split": "test",
    "calibration_images": 16,
    "networks": {"net": {"architecture": "resnet20", "width": 0.25, "epochs": 1, "batch": 20, "learning_rate": 0.05}},
    "options": {"iterations": 2, "saliency_images": 16, "iteration_images": 16, "final_images": 32, "batch": 16},
    "classes": {"two": {"sets": [["stripe 3", 1]]}, "drawn": {"count": 3, "seeds": [1, 2]}},
    "methods": {"mine": {"base": "hybrid", "options": {"floor": 0.0}, "networks": {"net": {"learning_rate": 0.02}}}},
    "grid": [
        {"networks": ["net"], "classes": ["two"], "methods": ["crisp", "nm"], "sparsities": [0.6, 0.8], "seeds": [1]},
        {"networks": ["net"], "classes": ["two", "drawn"], "methods": ["dense", "mine"], "cycles_of_sparsity": [0.6], "seeds": [1, 2]},
    ],
}


def table(path: str = "", value: Any = None) -> dict[str, Any]:
    """Return the experiment with one value changed, at keys and numbers between dots; none deletes it."""
    result = copy.deepcopy(TABLE)
    place: Any = result
    *parents, last = path.split(".") if path else [""]
    for key in parents:
        place = place[int(key)] if key.isdecimal() else place.setdefault(key, {})
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return result


def small(path: str = "", value: Any = None) -> Experiment:
    """Return the experiment of such a table."""
    return read_experiment(table(path, value), PATH)
