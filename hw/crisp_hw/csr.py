"""Register file: what the host sees of the machine, through AXI4-Lite. Registers are declared in ``crisp.arch.registers``."""

from collections.abc import Iterable, Iterator

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch.registers import ADDRESS_SPACE_BYTES, REGISTERS, VERSION_MAJOR, VERSION_MINOR, Access, Register, RegisterField

from .axi import AxiLiteSignature

__all__ = ["RegisterFile", "event_layout", "host_layout", "machine_layout", "place", "pulse_layout"]

#: Answers of the bus.
OKAY = 0b00
SLVERR = 0b10

#: Bits of a number of two registers whose high half is kept while the low one is read: it counts meanwhile.
COUNTER_WIDTH = 64

#: Registers that never change; the digest of the configuration is added.
CONSTANTS = {"version_minor": VERSION_MINOR, "version_major": VERSION_MAJOR}


def place(register: Register, field: RegisterField) -> tuple[str, int]:
    """Say which number of the gateware a field is, and at which of its bits.

    A register of one field is a number of its own, or one half of one; the fields of others are numbers each.
    """
    if len(register.fields) > 1 or field.name != register.name.lower():
        return f"{register.name.lower()}_{field.name}", 0
    for suffix, bit in (("_LOW", 0), ("_HIGH", 32)):
        if register.name.endswith(suffix):
            return register.name.removesuffix(suffix).lower(), bit + field.low
    return field.name, field.low


def fields(*access: Access) -> Iterator[tuple[Register, RegisterField]]:
    """Yield the fields of some kinds of access."""
    for register in REGISTERS:
        for field in register.fields:
            if field.access in access:
                yield register, field


def layout_of(chosen: Iterable[tuple[Register, RegisterField]]) -> data.StructLayout:
    """Lay out the numbers that fields are parts of."""
    widths: dict[str, int] = {}
    for register, field in chosen:
        key, bit = place(register, field)
        widths[key] = max(widths.get(key, 0), bit + field.width)
    return data.StructLayout({key: unsigned(width) for key, width in widths.items()})


def host_layout() -> data.StructLayout:
    """Lay out what the host has written."""
    return layout_of(fields(Access.WRITE, Access.LOCKED))


def pulse_layout() -> data.StructLayout:
    """Lay out what the host has ordered in this cycle."""
    return layout_of(fields(Access.PULSE))


def event_layout() -> data.StructLayout:
    """Lay out what may raise the interrupt."""
    return layout_of(fields(Access.CLEAR))


def machine_layout() -> data.StructLayout:
    """Lay out what the machine shows."""
    constant = {"id", "config_digest", *CONSTANTS}
    return layout_of((register, field) for register, field in fields(Access.READ) if place(register, field)[0] not in constant)


class RegisterFile(wiring.Component):
    """Answer the host's reads and writes.

    Latency: a read or write is answered in the third cycle. Throughput: one read and one write every two cycles.
    Flow control: AXI4-Lite; address and data of a write may come in any order.

    Parameters
    ----------
    digest : int
        Hash of the configuration.

    Members
    -------
    s_axi : In, AXI4-Lite
        The host.
    o_host : Out
        What the host has written, see `host_layout`.
    o_pulses : Out
        What it orders in this cycle.
    i_machine : In
        What the machine shows, see `machine_layout`.
    i_events : In
        What has happened in this cycle.
    i_forget : In
        Forget all events.
    o_interrupt : Out
        An event that is enabled has happened and was not cleared.
    """

    def __init__(self, *, digest: int):
        self.digest = digest
        initial = {place(register, field)[0]: field.reset for register, field in fields(Access.WRITE, Access.LOCKED) if field.reset}
        super().__init__({
            "s_axi": In(AxiLiteSignature(address_width=(ADDRESS_SPACE_BYTES - 1).bit_length())),
            "o_host": Out(host_layout(), init=initial),
            "o_pulses": Out(pulse_layout()),
            "i_machine": In(machine_layout()),
            "i_events": In(event_layout()),
            "i_forget": In(1),
            "o_interrupt": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        events = Signal(event_layout())
        self.write(m, events)
        self.read(m, events)

        # Events: those of this cycle outlive a clearing.
        enables = Cat(self.o_host[f"interrupt_enable_{key.removeprefix('interrupt_status_')}"] for key, _ in event_layout())
        m.d.comb += self.o_interrupt.eq((events.as_value() & enables).any())
        return m

    def write(self, m: Module, events: data.View) -> None:
        """Take address and data, then write and answer."""
        bus = self.s_axi
        address, address_valid = Signal.like(bus.awaddr, name="write_address"), Signal(name="write_address_valid")
        word, strobes, word_valid = Signal(32, name="write_word"), Signal(4), Signal(name="write_word_valid")
        m.d.comb += [bus.awready.eq(~address_valid), bus.wready.eq(~word_valid)]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address.eq(bus.awaddr), address_valid.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [word.eq(bus.wdata), strobes.eq(bus.wstrb), word_valid.eq(1)]

        write = Signal()
        m.d.comb += write.eq(address_valid & word_valid & ~bus.bvalid)
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(write):
            m.d.sync += [address_valid.eq(0), word_valid.eq(0), bus.bvalid.eq(1), bus.bresp.eq(SLVERR)]

        mask = Cat(strobe.replicate(8) for strobe in strobes)
        cleared = Signal(event_layout())
        with m.Switch(address[2:]):
            for register in REGISTERS:
                if register.writable:
                    with m.Case(register.offset // 4):
                        is_locked = Const(0)
                        for field in register.fields:
                            key, bit = place(register, field)
                            bits = slice(field.low, field.low + field.width)
                            match field.access:
                                case Access.WRITE | Access.LOCKED:
                                    number = self.o_host[key][bit : bit + field.width]
                                    is_locked = self.i_machine.status_busy if field.access is Access.LOCKED else is_locked
                                    with m.If(write & ~is_locked):
                                        m.d.sync += number.eq((number & ~mask[bits]) | (word[bits] & mask[bits]))
                                case Access.PULSE:
                                    m.d.comb += self.o_pulses[key].eq(write & word[bits] & mask[bits])
                                case Access.CLEAR:
                                    m.d.comb += cleared[key].eq(write & word[bits] & mask[bits])
                        with m.If(write & ~is_locked):
                            m.d.sync += bus.bresp.eq(OKAY)
        with m.If(self.i_forget):
            m.d.sync += events.eq(0)
        with m.Else():
            m.d.sync += events.eq((events.as_value() & ~cleared.as_value()) | self.i_events.as_value())

    def read(self, m: Module, events: data.View) -> None:
        """Take an address, then read and answer."""
        bus = self.s_axi
        address, address_valid = Signal.like(bus.araddr, name="read_address"), Signal(name="read_address_valid")
        m.d.comb += bus.arready.eq(~address_valid)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [address.eq(bus.araddr), address_valid.eq(1)]

        read = Signal()
        kept = Signal(COUNTER_WIDTH - 32)
        m.d.comb += read.eq(address_valid & ~bus.rvalid)
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(read):
            m.d.sync += [address_valid.eq(0), bus.rvalid.eq(1)]
            with m.Switch(address[2:]):
                for register in REGISTERS:
                    with m.Case(register.offset // 4):
                        m.d.sync += [bus.rdata.eq(self.word_of(register, events, kept)), bus.rresp.eq(OKAY)]
                        key, bit = place(register, register.fields[0])
                        if bit == 0 and self.is_counter(key):
                            m.d.sync += kept.eq(self.i_machine[key][32:])
                with m.Default():
                    m.d.sync += [bus.rdata.eq(0), bus.rresp.eq(SLVERR)]

    def is_counter(self, key: str) -> bool:
        """Tell whether a number of the machine is a counter of two registers."""
        members = machine_layout().members
        return key in members and len(self.i_machine[key]) == COUNTER_WIDTH

    def word_of(self, register: Register, events: data.View, kept: Signal) -> Value:
        """Return what a register reads."""
        word: list[Value] = []
        constants = {"id": register.reset, "config_digest": self.digest, **CONSTANTS}
        for field in register.fields:
            key, bit = place(register, field)
            word.append(Const(0, field.low - sum(len(part) for part in word)))
            match field.access:
                case Access.READ if key in constants:
                    word.append(Const(constants[key], field.width))
                case Access.READ if bit == 32 and self.is_counter(key):
                    word.append(kept)
                case Access.READ:
                    word.append(self.i_machine[key][bit : bit + field.width])
                case Access.WRITE | Access.LOCKED:
                    word.append(self.o_host[key][bit : bit + field.width])
                case Access.CLEAR:
                    word.append(events[key])
                case Access.PULSE:
                    word.append(Const(0, field.width))
        return Cat(*word)
