"""Running programs: on the golden machine, on the simulated one, or on whatever has its registers and its memory."""

from .accelerator import BACKENDS, Accelerator, RunResult
from .driver import Device, Driver
from .errors import AcceleratorError, DeviceError
from .layers import LayerReport

__all__ = ["BACKENDS", "Accelerator", "AcceleratorError", "Device", "DeviceError", "Driver", "LayerReport", "RunResult"]
