"""What can be wrong with an experiment."""

from crisp.arch.errors import CrispError

__all__ = ["ExperimentError"]


class ExperimentError(CrispError):
    """An experiment's file, filter or record breaks a rule, or a run of it failed."""
