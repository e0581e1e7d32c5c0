"""Experiments: many networks pruned in many ways, from a file; what is done is kept, and what came out is compared."""

from .command import ExperimentOptions, run_experiment
from .errors import ExperimentError
from .file import load_experiment
from .grid import Run, expand, filter_runs
from .methods import METHODS, Method
from .spec import Experiment

__all__ = [
    "METHODS",
    "Experiment",
    "ExperimentError",
    "ExperimentOptions",
    "Method",
    "Run",
    "expand",
    "filter_runs",
    "load_experiment",
    "run_experiment",
]
