"""CRISP: prune a network for its user's classes, and run what is left on a sparse systolic accelerator."""

__version__ = "0.1.0"
