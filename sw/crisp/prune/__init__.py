"""Class-aware hybrid pruning: N:M inside blocks, and whole blocks."""

from .errors import PruneError
from .loop import Iteration, PrunedModel, prune
from .options import PruneOptions
from .saliency import Saliency
from .storage import load_pruned, save_pruned

__all__ = ["Iteration", "PruneError", "PruneOptions", "PrunedModel", "Saliency", "load_pruned", "prune", "save_pruned"]
