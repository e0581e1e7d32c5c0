"""Typed errors of the simulation."""

from crisp.arch import CrispError

__all__ = ["BuildError", "CocotbFailure", "MachineFault", "SimulationError", "ToolError"]


class SimulationError(CrispError):
    """Base of every error of the simulation."""


class ToolError(SimulationError):
    """A tool that the simulation needs is missing or too old."""


class BuildError(SimulationError):
    """A simulator could not be built: names the command and shows the end of what it printed."""


class CocotbFailure(SimulationError, AssertionError):
    """A cocotb test failed: names the test, its assertion and the seed."""


class MachineFault(SimulationError):
    """The simulated machine does on its ports what the bus forbids, or does not answer."""
