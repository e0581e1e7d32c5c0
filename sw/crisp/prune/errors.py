"""What can be wrong with the settings of pruning."""

from crisp.arch.errors import CrispError

__all__ = ["PruneError"]


class PruneError(CrispError):
    """An option of pruning breaks a rule, or asks for what the network does not have."""
