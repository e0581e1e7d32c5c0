"""Class-aware hybrid pruning: N:M inside blocks, and whole blocks."""

from .errors import PruneError
from .loop import Iteration, PrunedModel, prune
from .options import Order, Price, PruneOptions, Ranking, Schedule
from .saliency import Saliency
from .selection import Goal, Layer, Selection, Selector
from .storage import load_pruned, save_pruned

__all__ = [
    "Goal",
    "Iteration",
    "Layer",
    "Order",
    "Price",
    "PruneError",
    "PruneOptions",
    "PrunedModel",
    "Ranking",
    "Saliency",
    "Schedule",
    "Selection",
    "Selector",
    "load_pruned",
    "prune",
    "save_pruned",
]
