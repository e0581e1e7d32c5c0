"""Round robin: who is served next, so that nobody waits for longer than the others take once."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobin"]


class RoundRobin(wiring.Component):
    """Grant one of the requests, the one that was granted last being the last to be granted again.

    Latency: none from ``i_requests`` to ``o_grants``. Throughput: a grant a cycle.
    Flow control: the turn passes on with ``i_taken`` only; until then another request may take the grant away.

    Parameters
    ----------
    num_requests : int
        Number of requests.

    Members
    -------
    i_requests : In, ``num_requests`` bits
        Who asks.
    i_taken : In
        The grant is used in this cycle.
    o_grants : Out, ``num_requests`` bits
        Who may: at most one bit.
    """

    def __init__(self, *, num_requests: int):
        if num_requests < 1:
            raise ValueError(f"num_requests must be at least 1, not {num_requests}")
        self.num_requests = num_requests
        super().__init__({"i_requests": In(num_requests), "i_taken": In(1), "o_grants": Out(num_requests)})

    def elaborate(self, platform):
        m = Module()
        # Those behind the one that was granted last come first.
        behind = Signal(self.num_requests)
        preferred = Signal(self.num_requests)
        candidates = Signal(self.num_requests)
        m.d.comb += preferred.eq(self.i_requests & behind)
        m.d.comb += candidates.eq(Mux(preferred.any(), preferred, self.i_requests))
        m.d.comb += self.o_grants.eq(candidates & (~candidates + 1))
        with m.If(self.i_taken):
            m.d.sync += behind.eq(~(self.o_grants | (self.o_grants - 1)))
        return m
