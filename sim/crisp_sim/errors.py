"""Typed errors of the simulation."""

from crisp.arch import CrispError

__all__ = ["BuildError", "CocotbFailure", "EngineFault", "MachineFault", "SimulationError", "SimulationTimeout", "ToolError"]


class SimulationError(CrispError):
    """Base of every error of the simulation."""


class ToolError(SimulationError):
    """A tool that the simulation needs is missing or too old."""


class BuildError(SimulationError):
    """A simulator could not be built: names the command and shows the end of what it printed."""


class CocotbFailure(SimulationError, AssertionError):
    """A cocotb test failed: names the test, its assertion and the seed."""


class SimulationTimeout(SimulationError):
    """The hardware made no progress: names layer, cycle and the streams that stood still."""


class EngineFault(SimulationError):
    """The engine ended in a way that its contract forbids, such as with a window unread."""


class MachineFault(SimulationError):
    """The simulated machine does on its ports what the bus forbids, or does not answer."""
