"""What can be wrong with the settings of pruning."""

from crisp.arch.errors import CrispError

__all__ = ["PruneError", "UnreachableError"]


class PruneError(CrispError):
    """An option of pruning breaks a rule, or asks for what the network does not have."""


class UnreachableError(PruneError):
    """A sparsity or a budget of cycles asks for more than the layers can give."""
