"""A small machine with the ports of the large one: it copies bytes in memory, and can be made to break the rules of the bus."""

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out, Signature

from crisp.arch import Config
from crisp_hw.axi import AxiLiteSignature, AxiSignature, flat_members

__all__ = ["BEATS", "BEATS_REGISTER", "DESTINATION", "SOURCE", "START", "STATUS", "Copier"]

SOURCE, DESTINATION, BEATS_REGISTER, START, STATUS = range(0, 20, 4)

#: Beats of a burst.
BEATS = 4

#: Told when the last burst is copied: how many times so far, and the address behind.
TRACE = Signature({"valid": Out(1), "payload": Out(data.StructLayout({"number": 8, "end": 32}))})


class Copier(Component):
    """Copies bursts of `BEATS` beats and then raises its interrupt, until the next start.

    Parameters
    ----------
    config : Config
        Bus width.
    fault : str
        ``""``; ``page``: says that bursts have 16 beats; ``fickle``: withdraws requests; ``last``: WLAST comes a beat early; ``moody``:
        changes data that wait; ``deaf``: registers do not answer; ``narrow``: says that beats are half as wide; ``odd``: reads from an
        address that is no multiple of the bus width.
    has_trace : bool
        Whether it has a trace port.
    """

    def __init__(self, config: Config, fault: str = "", *, has_trace: bool = True) -> None:
        self.width = config.axi_data_width
        self.fault = fault
        super().__init__({
            **flat_members("m_axi", Out(AxiSignature(data_width=self.width))),
            **flat_members("s_axi", In(AxiLiteSignature(address_width=12))),
            "interrupt": Out(1),
            **({"o_trace": Out(TRACE)} if has_trace else {}),
        })  # fmt: skip
        self.has_trace = has_trace

    def elaborate(self, platform) -> Module:
        m = Module()
        source, destination, beats = Signal(32), Signal(32), Signal(32)
        number, start, response = Signal(8), Signal(), Signal(2)
        self.add_registers(m, {SOURCE: source, DESTINATION: destination, BEATS_REGISTER: beats}, start, response)

        place, taken = Signal(range(BEATS)), Signal()
        buffer = Array(Signal(self.width, name=f"beat_{index}") for index in range(BEATS))
        burst_bytes = BEATS * self.width // 8
        size = (self.width // 8).bit_length() - 1 - (self.fault == "narrow")
        for channel in ("ar", "aw"):
            length = 15 if self.fault == "page" else BEATS - 1
            m.d.comb += [getattr(self, f"m_axi_{channel}{name}").eq(value) for name, value in
                         (("len", length), ("size", size), ("burst", 1))]  # fmt: skip
        m.d.comb += [self.m_axi_araddr.eq(source + (self.fault == "odd")), self.m_axi_awaddr.eq(destination)]
        toggle = Signal()
        m.d.sync += toggle.eq(~toggle)
        withdrawn = toggle if self.fault == "fickle" else 0
        with m.FSM():
            with m.State("IDLE"):
                with m.If(start):
                    m.d.sync += [self.interrupt.eq(0), response.eq(0)]
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.m_axi_arvalid.eq(~withdrawn)
                with m.If(self.m_axi_arvalid & self.m_axi_arready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.m_axi_rready.eq(1)
                with m.If(self.m_axi_rvalid):
                    m.d.sync += [buffer[place].eq(self.m_axi_rdata), place.eq(place + 1), response.eq(response | self.m_axi_rresp)]
                    with m.If(self.m_axi_rlast):
                        m.d.sync += taken.eq(0)
                        m.next = "WRITE"
            with m.State("WRITE"):
                last = BEATS - 2 if self.fault == "last" else BEATS - 1
                m.d.comb += [
                    self.m_axi_awvalid.eq(~taken),
                    self.m_axi_wvalid.eq(1),
                    self.m_axi_wdata.eq(buffer[place] ^ (toggle if self.fault == "moody" else 0)),
                    self.m_axi_wstrb.eq(-1),
                    self.m_axi_wlast.eq(place == last),
                ]
                with m.If(self.m_axi_awready):
                    m.d.sync += taken.eq(1)
                with m.If(self.m_axi_wready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == BEATS - 1):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.m_axi_awvalid.eq(~taken), self.m_axi_bready.eq(1)]
                with m.If(self.m_axi_awready):
                    m.d.sync += taken.eq(1)
                with m.If(self.m_axi_bvalid):
                    m.d.sync += [source.eq(source + burst_bytes), destination.eq(destination + burst_bytes), beats.eq(beats - BEATS)]
                    m.d.sync += response.eq(response | self.m_axi_bresp)
                    with m.If(beats == BEATS):
                        if self.has_trace:
                            m.d.comb += [self.o_trace.valid.eq(1), self.o_trace.payload.number.eq(number)]
                            m.d.comb += self.o_trace.payload.end.eq(destination + burst_bytes)
                        m.d.sync += [number.eq(number + 1), self.interrupt.eq(1)]
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "ASK"
        return m

    def add_registers(self, m: Module, registers: dict, start: Signal, response: Signal) -> None:
        """Add the side of the registers: an answer in the cycle after the request."""
        if self.fault == "deaf":
            return
        ready = Signal()
        written = Signal()
        m.d.comb += [ready.eq(self.s_axi_awvalid & self.s_axi_wvalid & ~self.s_axi_bvalid)]
        m.d.comb += [self.s_axi_awready.eq(ready), self.s_axi_wready.eq(ready), start.eq(written & (self.s_axi_awaddr == START))]
        m.d.comb += written.eq(ready)
        with m.If(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(ready):
            m.d.sync += [self.s_axi_bvalid.eq(1), self.s_axi_bresp.eq(0)]
            for address, register in registers.items():
                with m.If(self.s_axi_awaddr == address):
                    m.d.sync += register.eq(self.s_axi_wdata)
            with m.If(self.s_axi_awaddr > STATUS):
                m.d.sync += self.s_axi_bresp.eq(3)
        m.d.comb += self.s_axi_arready.eq(~self.s_axi_rvalid)
        with m.If(self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [self.s_axi_rvalid.eq(1), self.s_axi_rresp.eq(0), self.s_axi_rdata.eq(0)]
            for address, register in registers.items():
                with m.If(self.s_axi_araddr == address):
                    m.d.sync += self.s_axi_rdata.eq(register)
            with m.If(self.s_axi_araddr == STATUS):
                m.d.sync += self.s_axi_rdata.eq(Cat(self.interrupt, response))
