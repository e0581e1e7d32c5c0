"""Ports of a component as its Verilog and its Verilated C++ show them, read from its signature."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from .errors import SimulationError

__all__ = ["Port", "Stream", "scalar_ports", "slices", "streams"]


@dataclasses.dataclass(frozen=True)
class Port:
    """A port of the top level.

    Parameters
    ----------
    name : str
        Name in Verilog: the path in the signature, joined by two underscores.
    width : int
        Bits.
    is_input : bool
        Whether the component reads it.
    shape : object
        Amaranth's shape or layout, for `slices`.
    """

    name: str
    width: int
    is_input: bool
    shape: Any

    @property
    def member(self) -> str:
        """Name in the C++ of Verilator, which reserves two underscores in a row for itself."""
        return self.name.replace("__", "___05F")

    @property
    def num_bytes(self) -> int:
        """Bytes that hold the port's bits."""
        return -(-self.width // 8)


@dataclasses.dataclass(frozen=True)
class Stream:
    """A stream of the top level; ``name`` is the part that its three ports share, ``o_output__0``."""

    name: str
    valid: Port
    ready: Port
    payload: Port

    @property
    def is_source(self) -> bool:
        """Whether the component takes from it, so that a bench drives it."""
        return self.valid.is_input


def all_ports(component: Any) -> Iterator[Port]:
    """Yield every port of a component in the order of its signature."""
    from amaranth.hdl import Value
    from amaranth.lib.wiring import Flow

    for path, member, value in component.signature.flatten(component):
        width = len(Value.cast(value))
        yield Port("__".join(map(str, path)), width, member.flow == Flow.In, member.shape)


def streams(component: Any) -> dict[str, Stream]:
    """Return the streams of a component by name, in the order of its signature."""
    ports = {port.name: port for port in all_ports(component)}
    found = {}
    for name in ports:
        stem = name.removesuffix("__valid")
        if stem != name and f"{stem}__ready" in ports and f"{stem}__payload" in ports:
            found[stem] = Stream(stem, ports[name], ports[f"{stem}__ready"], ports[f"{stem}__payload"])
    return found


def scalar_ports(component: Any) -> dict[str, Port]:
    """Return the ports that belong to no stream by name, in the order of the signature."""
    of_streams = {port.name for stream in streams(component).values() for port in (stream.valid, stream.ready, stream.payload)}
    return {port.name: port for port in all_ports(component) if port.name not in of_streams}


def slices(shape: Any) -> dict[str, tuple[int, int]]:
    """Return offset and width of each field of a layout, in bits.

    Raises
    ------
    SimulationError
        When ``shape`` has no fields.
    """
    from amaranth.lib.data import Layout

    if not isinstance(shape, Layout):
        raise SimulationError(f"a payload with fields must be a layout, not {shape!r}")
    return {str(key): (field.offset, field.width) for key, field in shape}
