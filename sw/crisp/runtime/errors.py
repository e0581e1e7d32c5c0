"""Typed errors of the runtime."""

from crisp.arch import CrispError, ErrorCode, Program

__all__ = ["AcceleratorError", "DeviceError"]


class DeviceError(CrispError):
    """A device is no machine of ours, not the one that a program is for, or has stopped answering."""


class AcceleratorError(CrispError):
    """The machine stopped at an error.

    Parameters
    ----------
    program : Program
        What it ran.
    code : ErrorCode
        What it found.
    command : int
        Number of the command.
    address : int
        Where in memory.
    """

    def __init__(self, program: Program, code: ErrorCode, command: int, address: int) -> None:
        self.code = code
        self.command = command
        self.address = address
        layer = program.layer_of(command)
        self.layer = None if layer is None else layer.name
        served = "" if layer is None else f" of layer {layer.name}"
        super().__init__(f"{program.network}: {code.name} at command {command}{served}, address {address:#x}: {code.doc} {code.remedy}")
