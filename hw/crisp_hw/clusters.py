"""Clusters: several engines that share out the tiles of commands. The golden model is ``crisp.golden.clusters``."""

from functools import reduce
from operator import and_, or_

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from crisp.arch import COUNTERS, EXECUTE, Config, ErrorCode

from .cluster_share import local_pixels, local_row_tiles, participants, turn_bits
from .command_layouts import tag_layout
from .engine import LayerEngine
from .layouts import word_layout
from .step_issuer import Cause

__all__ = ["Clusters", "tagged_layout"]

#: Write ports of the buffers of which every cluster has its own.
PORTS = ("i_step", "i_count", "i_entry", "i_channel")

#: Counters that are added up over the clusters.
SUMS = ("blocks_walked", "blocks_skipped")


def tagged_layout() -> data.StructLayout:
    """Lay out a command, and what tells it from others."""
    return data.StructLayout({"command": word_layout(EXECUTE), "tag": tag_layout()})


class Clusters(wiring.Component):
    """Give each command's tiles to the engines in turn, and hand their results out in the order of one engine.

    ::

        i_command -+-> engine 0 ---+-> o_slots, from the one whose turn it is
        i_window --+-> engine 1 ---+
        i_targets ^    ...         ^- i_turn

    Row tile t, or pixel tile t if the command is spread by those, is the engine's whose number is t modulo ``clusters``. Each engine has a
    command of its own for its share, and stays out where it has none. All that take part take a command in the same cycle; a word of a
    window goes to its targets in the same cycle.

    It cannot come to a standstill: windows come, and slots are taken, in the one order of tiles, so the tile whose slots are waited for has
    got its window, whatever other engines have to wait for.

    With one cluster it is that engine. Latency, throughput and flow control: those of `LayerEngine`; a slot a cycle in all.

    Parameters
    ----------
    config : Config
        The configuration.

    Members
    -------
    i_clusters : In
        Clusters that take what is written in this cycle.
    i_step, i_count, i_entry, i_channel : In, write port
        As of `LayerEngine`.
    i_command : In, stream
        Words `EXECUTE` of kind PRODUCT, with their tags.
    i_window : In, stream
        Windows, in the order of their use.
    i_targets : In
        Clusters that this word is for.
    i_turn : In
        Cluster whose slots are wanted.
    o_slots : Out, stream
        Its slots.
    o_open_done : Out
        As of `LayerEngine`, of each cluster.
    o_busy, o_cause : Out
        As of `LayerEngine`, of cluster 0, which has the first and the most tiles: the account of cycles is its.
    o_active : Out
        Any cluster issues a step.
    o_counters, o_counters_valid : Out
        Where cluster 0's cycles of a command went, and the blocks of all clusters; pulses once a command, in order, some cycles behind its
        last slot.
    o_error, o_error_code, o_error_tag : Out
        What is wrong with the data of a command; that of the lowest cluster if several find something.
    """

    #: Commands whose accounts are not complete.
    ACCOUNTS = 8

    def __init__(self, config: Config):
        self.config = config
        self.engines = [LayerEngine(config) for _ in range(config.clusters)]
        engine = self.engines[0].signature.members
        super().__init__({
            "i_clusters": In(config.clusters),
            **{name: engine[name] for name in PORTS},
            "i_command": In(stream.Signature(tagged_layout())),
            "i_window": engine["i_window"],
            "i_targets": In(config.clusters),
            "i_turn": In(turn_bits(config.clusters)),
            "o_slots": engine["o_slots"],
            "o_open_done": Out(config.clusters),
            "o_busy": Out(1),
            "o_cause": Out(Cause),
            "o_active": Out(1),
            "o_counters": Out(word_layout(COUNTERS)),
            "o_counters_valid": Out(1),
            "o_error": Out(1),
            "o_error_code": Out(ErrorCode),
            "o_error_tag": Out(tag_layout()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config, engines = self.config, self.engines
        for number, engine in enumerate(engines):
            m.submodules[f"engine_{number}"] = engine
            for name in PORTS:
                port = getattr(engine, name)
                m.d.comb += port.eq(getattr(self, name))
                if config.clusters > 1:
                    m.d.comb += port.enable.eq(getattr(self, name).enable & self.i_clusters[number])

        # Commands: to all that take part, each with its share.
        command = self.i_command.payload.command
        takes_part = Signal(config.clusters)
        m.d.comb += takes_part.eq(participants(command, clusters=config.clusters, columns=config.columns))
        self.to_all(m, self.i_command, takes_part, [engine.i_command for engine in engines])
        for number, engine in enumerate(engines):
            m.d.comb += engine.i_command.payload.eq(command)
            if config.clusters > 1:
                m.d.comb += engine.i_command.payload.row_tiles.eq(local_row_tiles(command, number, config.clusters))
                m.d.comb += engine.i_command.payload.pixels.eq(local_pixels(command, number, config.columns))

        # Windows, and slots.
        self.to_all(m, self.i_window, self.i_targets, [engine.i_window for engine in engines])
        for engine in engines:
            m.d.comb += engine.i_window.payload.eq(self.i_window.payload)
        if config.clusters == 1:
            connect(m, engines[0].o_slots, flipped(self.o_slots))
        else:
            with m.Switch(self.i_turn):
                for number, engine in enumerate(engines):
                    with m.Case(number):
                        m.d.comb += [self.o_slots.valid.eq(engine.o_slots.valid), self.o_slots.payload.eq(engine.o_slots.payload)]
                        m.d.comb += engine.o_slots.ready.eq(self.o_slots.ready)
        m.d.comb += self.o_open_done.eq(Cat(engine.o_open_done for engine in engines))

        # Account.
        m.d.comb += [self.o_busy.eq(engines[0].o_busy), self.o_cause.eq(engines[0].o_cause)]
        m.d.comb += self.o_active.eq(reduce(or_, (engine.o_busy & (engine.o_cause == Cause.ACTIVE) for engine in engines)))
        if config.clusters == 1:
            m.d.comb += [self.o_counters.eq(engines[0].o_counters), self.o_counters_valid.eq(engines[0].o_counters_valid)]
        else:
            self.add_accounts(m, takes_part)

        # Faults, with the command that they belong to.
        for number, engine in reversed(list(enumerate(engines))):
            m.submodules[f"tags_{number}"] = tags = SyncFIFO(width=tag_layout().size, depth=4)
            listed = Signal(tag_layout(), name=f"listed_{number}")
            m.d.comb += [tags.w_data.eq(self.i_command.payload.tag), tags.r_en.eq(engine.o_steps_end)]
            with m.If(engine.i_command.valid & engine.i_command.ready):
                m.d.comb += tags.w_en.eq(1)
                m.d.sync += listed.eq(self.i_command.payload.tag)
            # What the last one tells matters to nobody without an error, and need not wait for it.
            with m.If(engine.o_error | (number == len(engines) - 1)):
                m.d.comb += [self.o_error.eq(engine.o_error), self.o_error_code.eq(engine.o_error_code)]
                m.d.comb += self.o_error_tag.eq(Mux(engine.o_error_listing, listed.as_value(), tags.r_data))
        return m

    def to_all(self, m: Module, source: stream.Interface, targets: Signal, sinks: list[stream.Interface]) -> None:
        """Let all that are meant take a transfer in the same cycle."""
        if len(sinks) == 1:
            m.d.comb += [sinks[0].valid.eq(source.valid), source.ready.eq(sinks[0].ready)]
            return
        free = [sink.ready | ~targets[number] for number, sink in enumerate(sinks)]
        m.d.comb += source.ready.eq(reduce(and_, free))
        for number, sink in enumerate(sinks):
            others = reduce(and_, (flag for other, flag in enumerate(free) if other != number))
            m.d.comb += sink.valid.eq(source.valid & targets[number] & others)

    def add_accounts(self, m: Module, takes_part: Signal) -> None:
        """Add up the accounts of all clusters that took part in a command, when they are complete."""
        sums_layout = data.StructLayout({name: word_layout(COUNTERS)[name].shape for name in SUMS})
        m.submodules.parts = parts = SyncFIFO(width=len(takes_part), depth=self.ACCOUNTS)
        m.d.comb += [parts.w_data.eq(takes_part), parts.w_en.eq(self.i_command.valid & self.i_command.ready)]
        m.d.comb += parts.r_en.eq(self.o_counters_valid)
        accounts = []
        for number, engine in enumerate(self.engines):
            layout = word_layout(COUNTERS) if number == 0 else sums_layout
            m.submodules[f"accounts_{number}"] = account = SyncFIFO(width=layout.size, depth=self.ACCOUNTS)
            m.d.comb += [account.w_en.eq(engine.o_counters_valid), account.r_en.eq(self.o_counters_valid & parts.r_data[number])]
            m.d.comb += account.w_data.eq(Cat(engine.o_counters[name] for name, _ in layout))
            accounts.append((account, data.View(layout, account.r_data)))
        complete = reduce(and_, (account.r_rdy | ~parts.r_data[number] for number, (account, _) in enumerate(accounts)))
        m.d.comb += self.o_counters_valid.eq(parts.r_rdy & complete)
        m.d.comb += self.o_counters.eq(accounts[0][1])
        for name in SUMS:
            terms = (Mux(parts.r_data[number], view[name], 0) for number, (_, view) in enumerate(accounts))
            m.d.comb += self.o_counters[name].eq(sum(terms))
