"""AXI4 and AXI4-Lite: signatures whose members have the standard's names, and what every manager of this project drives alike."""

import enum
from collections.abc import Iterator

from amaranth import Module
from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Component, In, Member, Out, Signature

__all__ = [
    "ADDRESS_WIDTH",
    "PAGE_BYTES",
    "AxiError",
    "AxiLiteSignature",
    "AxiReadSignature",
    "AxiSignature",
    "AxiWriteSignature",
    "connect_flat",
    "error_layout",
    "flat_members",
    "transfer_layout",
]

#: Bits of a memory address.
ADDRESS_WIDTH = 40

#: A burst does not cross a multiple of it.
PAGE_BYTES = 4096

#: Widths that the standard has, of those that this project uses.
DATA_WIDTHS = (32, 64, 128, 256, 512)

#: AxBURST: each beat follows the one before.
BURST_INCR = 1

#: AxCACHE: normal memory that is neither cached nor held in a buffer that could answer in its place; bus widths may be converted.
CACHE_NORMAL = 0b0010

#: AxPROT: data, not secure, not privileged: it may do what a user's program may.
PROT_DATA = 0b010


class AxiError(enum.IntEnum):
    """What went wrong with a transfer: xRESP as the standard numbers it, where EXOKAY stands for all that it does not allow."""

    PROTOCOL = 1  #: A response to nothing, RLAST in the wrong beat, or EXOKAY to what was not exclusive.
    SLVERR = 2  #: The subordinate refused.
    DECERR = 3  #: No subordinate at this address.


def transfer_layout(bytes_width: int) -> data.StructLayout:
    """Lay out what a reader or writer is asked for: so many bytes, at least 1, from an address that is a multiple of the bus width."""
    return data.StructLayout({"address": unsigned(ADDRESS_WIDTH), "bytes": unsigned(bytes_width)})


def error_layout() -> data.StructLayout:
    """Lay out an error of the bus: `AxiError`, and the address that it belongs to."""
    return data.StructLayout({"valid": 1, "error": unsigned(2), "address": unsigned(ADDRESS_WIDTH)})


def address_members(channel: str, id_width: int) -> dict[str, Member]:
    """Return the members of an address channel, ``ar`` or ``aw``, as the manager has them."""
    return {
        f"{channel}id": Out(id_width),
        f"{channel}addr": Out(ADDRESS_WIDTH),
        f"{channel}len": Out(8),
        f"{channel}size": Out(3),
        f"{channel}burst": Out(2),
        f"{channel}lock": Out(1),
        f"{channel}cache": Out(4),
        f"{channel}prot": Out(3),
        f"{channel}qos": Out(4),
        f"{channel}valid": Out(1),
        f"{channel}ready": In(1),
    }


def read_members(data_width: int, id_width: int) -> dict[str, Member]:
    """Return the members of the channels AR and R, as the manager has them."""
    return {
        **address_members("ar", id_width),
        "rid": In(id_width),
        "rdata": In(data_width),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def write_members(data_width: int, id_width: int) -> dict[str, Member]:
    """Return the members of the channels AW, W and B, as the manager has them."""
    return {
        **address_members("aw", id_width),
        "wdata": Out(data_width),
        "wstrb": Out(data_width // 8),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(id_width),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


class AxiReadSignature(Signature):
    """Channels AR and R of AXI4 (IHI 0022), as the manager has them.

    Parameters
    ----------
    data_width : int
        Bits of a beat: 32, 64, 128, 256 or 512.
    id_width : int
        Bits of transaction identifiers.

    Raises
    ------
    ValueError
        When a width is none of those.
    """

    def __init__(self, *, data_width: int, id_width: int = 1):
        check_widths(data_width, id_width)
        self.data_width = data_width
        self.id_width = id_width
        super().__init__(read_members(data_width, id_width))


class AxiWriteSignature(Signature):
    """Channels AW, W and B of AXI4 (IHI 0022), as the manager has them; parameters as of `AxiReadSignature`."""

    def __init__(self, *, data_width: int, id_width: int = 1):
        check_widths(data_width, id_width)
        self.data_width = data_width
        self.id_width = id_width
        super().__init__(write_members(data_width, id_width))


class AxiSignature(Signature):
    """All five channels of AXI4 (IHI 0022), as the manager has them; parameters as of `AxiReadSignature`."""

    def __init__(self, *, data_width: int, id_width: int = 1):
        check_widths(data_width, id_width)
        self.data_width = data_width
        self.id_width = id_width
        super().__init__(read_members(data_width, id_width) | write_members(data_width, id_width))


class AxiLiteSignature(Signature):
    """AXI4-Lite with 32 bits of data (IHI 0022), as the manager has it: a register file has ``In(AxiLiteSignature(...))``.

    Parameters
    ----------
    address_width : int
        Bits of a byte address.
    """

    def __init__(self, *, address_width: int):
        self.address_width = address_width
        super().__init__({
            "awaddr": Out(address_width),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_width),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        })  # fmt: skip


def check_widths(data_width: int, id_width: int) -> None:
    """Raise unless the standard has these widths."""
    if data_width not in DATA_WIDTHS:
        raise ValueError(f"data_width must be one of {', '.join(map(str, DATA_WIDTHS))}, not {data_width!r}")
    if id_width < 1:
        raise ValueError(f"id_width must be at least 1, not {id_width}")


def drive_constants(m: Module, bus: wiring.PureInterface, channel: str) -> None:
    """Drive what is the same in all our bursts: full beats, ascending addresses, one identifier, so that responses come in order.

    Parameters
    ----------
    m : Module
        Where to.
    bus : interface
        The manager's port.
    channel : str
        ``ar`` or ``aw``.
    """
    beat_bytes = bus.signature.data_width // 8
    constants = {
        "id": 0,
        "size": beat_bytes.bit_length() - 1,
        "burst": BURST_INCR,
        "lock": 0,
        "cache": CACHE_NORMAL,
        "prot": PROT_DATA,
        "qos": 0,
    }
    m.d.comb += [getattr(bus, channel + name).eq(value) for name, value in constants.items()]


def members_of(signature: Signature) -> Iterator[tuple[str, Member]]:
    """Iterate over the ports of a signature that has no signatures or arrays inside."""
    for name, member in signature.members.items():
        if not member.is_port or member.dimensions:
            raise ValueError(f"{name} must be a plain port, so that it has a flat name")
        yield name, member


def flat_members(prefix: str, member: Member) -> dict[str, Member]:
    """Return the ports of a bus as members of a top level: ``m_axi_araddr`` where nesting would be named ``m_axi__araddr``.

    Parameters
    ----------
    prefix : str
        What all names begin with, as in ``m_axi``.
    member : Member
        ``Out(AxiSignature(...))`` for a manager, ``In(AxiLiteSignature(...))`` for a subordinate.
    """
    return {f"{prefix}_{name}": port for name, port in members_of(member.signature)}


def connect_flat(m: Module, component: Component, prefix: str, interface: wiring.PureInterface) -> None:
    """Connect the flat ports of a top level with the bus of a block inside.

    Parameters
    ----------
    m : Module
        The top level's module.
    component : Component
        The top level, which has the members of `flat_members`.
    prefix : str
        As there.
    interface : interface
        Port of the block: a manager's, a subordinate's, or a part of the bus such as `AxiReadSignature`.
    """
    for name, member in members_of(interface.signature):
        outside, inside = getattr(component, f"{prefix}_{name}"), getattr(interface, name)
        m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)
