"""Errors of benchmarks."""

from crisp.arch import CrispError

__all__ = ["BenchError"]


class BenchError(CrispError):
    """A benchmark's name or option is wrong, it could not be run, or the machine computed something else than the golden one."""
