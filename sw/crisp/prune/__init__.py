"""Class-aware hybrid pruning: N:M inside blocks, and whole blocks."""

from .errors import PruneError, UnreachableError
from .loop import prune
from .options import Order, Precision, Price, PruneOptions, Ranking, Schedule
from .pruned import Iteration, PrunedModel
from .saliency import Saliency
from .selection import Goal, Layer, Selection, Selector
from .storage import load_pruned, save_pruned

__all__ = [
    "Goal",
    "Iteration",
    "Layer",
    "Order",
    "Precision",
    "Price",
    "PruneError",
    "PruneOptions",
    "PrunedModel",
    "Ranking",
    "Saliency",
    "Schedule",
    "Selection",
    "Selector",
    "UnreachableError",
    "load_pruned",
    "prune",
    "save_pruned",
]
