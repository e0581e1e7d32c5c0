"""Command check: refuses a command before it has any effect. The golden model is ``crisp.golden.command_check``."""

import enum
from types import SimpleNamespace

from amaranth import Array, Cat, Module, Signal, Value
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE, LOAD, STORE, Config, ErrorCode, MemoryWindow, Opcode
from crisp.arch.command_rules import Rule, command_products, command_rules

from .axi import ADDRESS_WIDTH
from .command_layouts import COUNT_WIDTH, QUEUES, command_view, fault_layout, fetched_layout, queued_layout, waits_layout
from .shift_multiplier import ShiftMultiplier

__all__ = ["CommandCheck", "windows_layout"]

#: The word of each queue.
QUEUE_WORDS = {Opcode.LOAD: LOAD, Opcode.EXECUTE: EXECUTE, Opcode.STORE: STORE}

#: Bits of the first factor of products.
FACTOR_WIDTH = 16


class Phase(enum.Enum):
    """What the check is at."""

    WAIT = 0  #: Nothing.
    MULTIPLY = 1  #: Products are being computed.
    COMPARE = 2  #: Every rule is looked at.
    DECIDE = 3  #: The command goes on, or its fault is told.
    STOP = 4  #: It was refused.


def windows_layout() -> data.ArrayLayout:
    """Lay out the memory windows, by `MemoryWindow`."""
    return data.ArrayLayout(data.StructLayout({"base": unsigned(ADDRESS_WIDTH), "size": unsigned(32)}), len(MemoryWindow))


class CommandCheck(wiring.Component):
    """Check every command by the rules of `crisp.arch.command_rules`, then put it into its queue.

    All rules of the command's opcode are looked at in one cycle; the first that is broken tells the error, and nothing more goes on until
    reset.

    Latency: 4 cycles, and as many as the longest first factor of its products has bits: the number of rows, or of row tiles, less one.
    Throughput: one command at a time.
    Flow control: streams.

    Parameters
    ----------
    config : Config
        The configuration.

    Members
    -------
    i_command : In, stream
        Commands, from `CommandFetch`.
    i_windows : In
        Memory windows; they do not change.
    i_issued : In, array
        Commands put into each of `QUEUES` so far.
    o_load, o_execute, o_store : Out, stream
        To the queues, see `queued_layout`.
    o_end : Out
        END was met, and stays.
    o_end_waits : Out
        What it waits for.
    o_fault : Out
        What is wrong with a command.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_command": In(stream.Signature(fetched_layout())),
            "i_windows": In(windows_layout()),
            "i_issued": In(data.ArrayLayout(unsigned(COUNT_WIDTH), len(QUEUES))),
            "o_load": Out(stream.Signature(queued_layout(LOAD))),
            "o_execute": Out(stream.Signature(queued_layout(EXECUTE))),
            "o_store": Out(stream.Signature(queued_layout(STORE))),
            "o_end": Out(1),
            "o_end_waits": Out(waits_layout()),
            "o_fault": Out(fault_layout()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        fetched = self.i_command.payload
        views = {opcode: command_view(fetched, opcode) for opcode in Opcode}
        phase = Signal(Phase)

        # Products of the fields.
        starts = Signal()
        m.d.comb += starts.eq((phase == Phase.WAIT) & self.i_command.valid)
        products, done = self.multiply(m, fetched.opcode, views, starts)

        # What fields are compared with.
        window = Array(self.i_windows)[views[Opcode.LOAD].window]
        around = SimpleNamespace(window_base=Signal(ADDRESS_WIDTH), window_size=Signal(32), **products)
        m.d.sync += [around.window_base.eq(window.base), around.window_size.eq(window.size)]
        for queue, opcode in enumerate(QUEUES):
            setattr(around, f"issued_{opcode.name.lower()}", self.i_issued[queue])

        # Rules, those of one opcode in order.
        code = Signal(ErrorCode)
        is_wrong = Signal()
        with m.Switch(fetched.opcode):
            for opcode in Opcode:
                with m.Case(opcode):
                    rules = (Rule("reserved", ErrorCode.RESERVED, lambda f, a: f.reserved != 0), *command_rules(opcode, self.config))
                    broken = Signal(len(rules), name=f"broken_{opcode.name.lower()}")
                    m.d.sync += broken.eq(Cat(Value.cast(rule.broken(views[opcode], around)).bool() for rule in rules))
                    m.d.comb += is_wrong.eq(broken.any())
                    for bit, rule in reversed(list(enumerate(rules))):
                        with m.If(broken[bit]):
                            m.d.comb += code.eq(rule.code)

        # Go on, or refuse.
        fault = self.o_fault
        m.d.comb += [fault.code.eq(code), fault.tag.eq(fetched.tag)]
        taken = Signal()
        with m.Switch(phase):
            with m.Case(Phase.WAIT):
                with m.If(starts):
                    m.d.sync += phase.eq(Phase.MULTIPLY)
            with m.Case(Phase.MULTIPLY):
                with m.If(done):
                    m.d.sync += phase.eq(Phase.COMPARE)
            with m.Case(Phase.COMPARE):
                m.d.sync += phase.eq(Phase.DECIDE)
            with m.Case(Phase.DECIDE):
                with m.If(is_wrong):
                    m.d.comb += fault.valid.eq(1)
                    m.d.sync += phase.eq(Phase.STOP)
                with m.Else():
                    m.d.comb += taken.eq(1)

        m.d.comb += self.o_end_waits.eq(Cat(views[Opcode.END][name] for name, _ in waits_layout()))
        for opcode, port in ((Opcode.LOAD, self.o_load), (Opcode.EXECUTE, self.o_execute), (Opcode.STORE, self.o_store)):
            fields = [views[opcode][field.name] for field in QUEUE_WORDS[opcode].fields]
            m.d.comb += port.payload.eq(Cat(*fields, fetched.tag))
            with m.If(taken & (fetched.opcode == opcode)):
                m.d.comb += [port.valid.eq(1), self.i_command.ready.eq(port.ready)]
        with m.If(taken & (fetched.opcode == Opcode.END)):
            m.d.sync += self.o_end.eq(1)
        with m.If(self.i_command.valid & self.i_command.ready):
            m.d.sync += phase.eq(Phase.WAIT)
        return m

    def multiply(self, m: Module, opcode: Value, views: dict[Opcode, data.View], starts: Value) -> tuple[dict[str, Value], Value]:
        """Compute the products that rules refer to, side by side; return them by name, and whether all are there."""
        cases: dict[str, dict[Opcode, tuple[Value, Value, Value]]] = {}
        for which in Opcode:
            for product in command_products(which, self.config):
                terms = (*product.factors(views[which]), product.addend(views[which]))
                cases.setdefault(product.name, {})[which] = tuple(map(Value.cast, terms))
        found: dict[str, Value] = {}
        done: list[Value] = []
        for name, terms_of in cases.items():
            _, step_width, addend_width = (max(map(len, terms)) for terms in zip(*terms_of.values(), strict=True))
            m.submodules[name] = multiplier = ShiftMultiplier(factor_width=FACTOR_WIDTH, step_width=step_width, addend_width=addend_width)
            with m.Switch(opcode):
                for which, (factor, step, addend) in terms_of.items():
                    with m.Case(which):
                        m.d.comb += [multiplier.i_factor.eq(factor), multiplier.i_step.eq(step), multiplier.i_addend.eq(addend)]
            m.d.comb += multiplier.i_start.eq(starts)
            found[name] = multiplier.o_product
            done.append(multiplier.o_done)
        return found, Cat(*done).all()
