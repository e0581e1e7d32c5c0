"""Execute unit: carries EXECUTEs out, from activation buffer to activation buffer."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from crisp.arch import COUNTERS, EXECUTE, Config, ExecuteKind

from .clusters import Clusters, tagged_layout
from .command_layouts import UNITS_WIDTH, fault_layout, queued_layout, tag_layout
from .gather import Gather
from .layouts import fields_layout, read_request_layout, read_response_signature, word_layout, write_request_layout
from .max_pool import MaxPool
from .result_writer import ResultWriter
from .step_issuer import Cause
from .stream_register import StreamRegister

__all__ = ["ExecuteUnit", "record_layout", "trace_signature"]

#: Fields that say what becomes of results: those that the result writer needs, until its command is complete.
RESULT_FIELDS = tuple(
    field.name
    for field in EXECUTE.fields
    if field.name in ("kind", "sharing", "spread", "open", "table", "row_tiles", "pixels", "width", "first_column", "tile_columns")
    or field.name.startswith(("output_", "residual", "result_", "sum_"))
)

#: What is written to the buffers of clusters.
WRITES = ("i_clusters", "i_step", "i_count", "i_entry", "i_channel")


def record_layout() -> data.StructLayout:
    """Lay out what is told of a complete EXECUTE: the command's number, and where the engine's cycles went."""
    counters = {name: field.shape for name, field in word_layout(COUNTERS)}
    return data.StructLayout({"command": UNITS_WIDTH, **counters})


def trace_signature() -> wiring.Signature:
    """Return the signature of the trace port: a pulse for every complete EXECUTE."""
    return wiring.Signature({"valid": Out(1), "payload": Out(record_layout())})


class ExecuteUnit(wiring.Component):
    """Gather windows, multiply or take the maximum, finish the results, and write them back.

    ::

        i_command -+-> gather -+-> clusters -----+-> result_writer -> o_write
                   |    ^ v    +-> max_pool -----+      ^ v
                   |  o_reads[0]                     o_reads[1]
                   +-> (all of them, each with the fields that it needs)

    Commands go the way of their data: one may be gathered while those before are computed and written. What a command reads of another's
    results is up to its waits.

    Throughput: a step a cycle, see the parts. Flow control: streams.

    Parameters
    ----------
    config : Config
        The configuration.

    Members
    -------
    i_command : In, stream
        Commands that may begin, see `queued_layout`.
    i_clusters : In
        Clusters that take what is written to the next four.
    i_step, i_count, i_entry, i_channel, i_run, i_table : In
        Write ports of the buffers.
    o_reads, i_reads : Out and In, arrays
        Requests to the activation buffer and its answers: of the gather, and of residuals.
    o_write : Out, stream
        Results.
    i_writing : In
        Results that the activation buffer has taken are not yet in its RAMs.
    o_complete : Out
        The oldest command is complete.
    o_busy : Out
        Commands are under way.
    o_computing, o_cause : Out
        Cluster 0 is at work, and what this cycle goes to.
    o_active : Out
        Any cluster issues a step.
    o_trace : Out
        Records of complete commands, in order; some cycles behind ``o_complete``, but before ``o_busy`` falls.
    o_fault : Out
        What is wrong with the data of a command; a cycle after it was found.
    """

    #: Commands that are gathered, computed and written at the same time.
    UNDER_WAY = 4

    def __init__(self, config: Config):
        self.config = config
        self.clusters = Clusters(config)
        self.gather = Gather(
            columns=config.columns,
            group_size=config.group_size,
            words=config.activation_words,
            run_depth=config.run_buffer_depth,
            clusters=config.clusters,
        )
        self.result_writer = ResultWriter(config)
        clusters, gather, writer = (part.signature.members for part in (self.clusters, self.gather, self.result_writer))
        read = stream.Signature(read_request_layout(config.columns, config.activation_words))
        super().__init__({
            "i_command": In(stream.Signature(queued_layout(EXECUTE))),
            **{name: clusters[name] for name in WRITES},
            "i_run": gather["i_run"],
            "i_table": writer["i_table"],
            "o_reads": Out(read).array(2),
            "i_reads": In(read_response_signature(config.columns, config.group_size)).array(2),
            "o_write": Out(stream.Signature(write_request_layout(config.columns, config.group_size, config.activation_words))),
            "i_writing": In(1),
            "o_complete": Out(1),
            "o_busy": Out(1),
            "o_computing": Out(1),
            "o_cause": Out(Cause),
            "o_active": Out(1),
            "o_trace": Out(trace_signature()),
            "o_fault": Out(fault_layout()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.gather = gather = self.gather
        m.submodules.clusters = clusters = self.clusters
        m.submodules.max_pool = max_pool = MaxPool(columns=config.columns, group_size=config.group_size)
        m.submodules.result_writer = writer = self.result_writer

        # A command goes to all at once: to the gather, to a register before the clusters, and to a queue before the result writer.
        command, tag = self.i_command.payload.fields, self.i_command.payload.tag
        is_product = command.kind == ExecuteKind.PRODUCT
        m.submodules.product = product = StreamRegister(tagged_layout())
        result_layout = fields_layout(EXECUTE, *RESULT_FIELDS)
        m.submodules.results = results = SyncFIFO(width=result_layout.size, depth=self.UNDER_WAY - 1)
        m.submodules.result = result = StreamRegister(result_layout)
        m.submodules.records = records = SyncFIFO(width=UNITS_WIDTH + 1, depth=2 * self.UNDER_WAY)
        begins = Signal()
        ready = gather.i_command.ready & results.w_rdy & records.w_rdy & (product.i_data.ready | ~is_product)
        m.d.comb += begins.eq(self.i_command.valid & ready)
        m.d.comb += [self.i_command.ready.eq(ready), results.w_en.eq(begins), gather.i_command.valid.eq(begins)]
        m.d.comb += product.i_data.valid.eq(begins & is_product)
        m.d.comb += results.w_data.eq(Cat(command[name] for name in RESULT_FIELDS))
        for name, _ in command.shape():
            m.d.comb += [gather.i_command.payload[name].eq(command[name]), product.i_data.payload.command[name].eq(command[name])]
        m.d.comb += product.i_data.payload.tag.eq(tag)
        connect(m, product.o_data, clusters.i_command)
        m.d.comb += [result.i_data.payload.eq(results.r_data), result.i_data.valid.eq(results.r_rdy)]
        m.d.comb += results.r_en.eq(result.i_data.ready)
        m.d.comb += [writer.i_command.payload[name].eq(result.o_data.payload[name]) for name in RESULT_FIELDS]
        m.d.comb += [writer.i_command.valid.eq(result.o_data.valid), result.o_data.ready.eq(writer.i_command.ready)]

        # Data in their order.
        connect(m, gather.o_request, flipped(self.o_reads[0]))
        connect(m, flipped(self.i_reads[0]), gather.i_response)
        connect(m, gather.o_window, clusters.i_window)
        connect(m, gather.o_pool, max_pool.i_word)
        connect(m, clusters.o_slots, writer.i_products)
        connect(m, max_pool.o_slot, writer.i_maxima)
        connect(m, writer.o_request, flipped(self.o_reads[1]))
        connect(m, flipped(self.i_reads[1]), writer.i_response)
        connect(m, writer.o_write, flipped(self.o_write))
        m.d.comb += [clusters.i_targets.eq(gather.o_targets), clusters.i_turn.eq(writer.o_turn)]
        m.d.comb += [writer.i_open_done.eq(clusters.o_open_done), writer.i_writing.eq(self.i_writing)]
        m.d.comb += [getattr(clusters, name).eq(getattr(self, name)) for name in WRITES]
        m.d.comb += [gather.i_run.eq(self.i_run), writer.i_table.eq(self.i_table)]
        m.d.comb += [self.o_complete.eq(writer.o_complete), self.o_computing.eq(clusters.o_busy), self.o_cause.eq(clusters.o_cause)]
        m.d.comb += self.o_active.eq(clusters.o_active)

        # Records. The clusters' account of a command may close before its results are written, or a little later.
        m.submodules.accounts = accounts = SyncFIFO(width=COUNTERS.width, depth=self.UNDER_WAY + 1)
        complete = Signal(self.UNDER_WAY)
        m.d.comb += [accounts.w_en.eq(clusters.o_counters_valid), accounts.w_data.eq(clusters.o_counters)]
        m.d.comb += [records.w_en.eq(begins), records.w_data.eq(Cat(tag.index, is_product))]
        has_account = records.r_data[-1]
        trace = self.o_trace
        m.d.comb += trace.valid.eq(records.r_rdy & (complete != 0) & (accounts.r_rdy | ~has_account))
        m.d.comb += trace.payload.command.eq(records.r_data)
        account = data.View(word_layout(COUNTERS), accounts.r_data)
        with m.If(has_account):
            m.d.comb += [trace.payload[name].eq(account[name]) for name, _ in account.shape()]
        m.d.comb += [records.r_en.eq(trace.valid), accounts.r_en.eq(trace.valid & has_account)]
        m.d.sync += complete.eq(complete + self.o_complete - trace.valid)
        m.d.comb += self.o_busy.eq(records.r_rdy)

        # Faults, with the command that they belong to.
        last_tag = Signal(tag_layout())
        with m.If(begins):
            m.d.sync += last_tag.eq(tag)
        fault = self.o_fault
        m.d.sync += fault.valid.eq(clusters.o_error | gather.o_error)
        with m.If(gather.o_error):
            m.d.sync += [fault.code.eq(gather.o_error_code), fault.tag.eq(last_tag)]
        with m.Else():
            m.d.sync += [fault.code.eq(clusters.o_error_code), fault.tag.eq(clusters.o_error_tag)]
        return m
