# amaranth: UnusedElaboratable=no
"""AXI signatures: names and directions of the ports as the standard has them, and widths that it does not have."""

import pytest
from amaranth.lib.wiring import In, Out

from crisp_hw.axi import AxiLiteSignature, AxiReadSignature, AxiSignature, AxiWriteSignature, flat_members
from crisp_hw.axi_reader import AxiReader
from crisp_hw.verilog import emit


def test_flat_ports_of_a_manager():
    members = flat_members("m_axi", Out(AxiSignature(data_width=64, id_width=3)))
    assert members["m_axi_araddr"] == Out(40)
    assert members["m_axi_arready"] == In(1)
    assert members["m_axi_rdata"] == In(64)
    assert members["m_axi_rid"] == In(3)
    assert members["m_axi_wstrb"] == Out(8)
    assert members["m_axi_bready"] == Out(1)


def test_flat_ports_of_a_subordinate():
    members = flat_members("s_axi", In(AxiLiteSignature(address_width=12)))
    assert members["s_axi_awaddr"] == In(12)
    assert members["s_axi_awready"] == Out(1)
    assert members["s_axi_rdata"] == Out(32)
    assert members["s_axi_bready"] == In(1)


def test_a_bus_is_the_sum_of_its_halves():
    read, write = (set(signature(data_width=32).members) for signature in (AxiReadSignature, AxiWriteSignature))
    assert set(AxiSignature(data_width=32).members) == read | write
    assert not read & write


@pytest.mark.parametrize("signature", [AxiReadSignature, AxiWriteSignature, AxiSignature])
def test_widths(signature):
    with pytest.raises(ValueError, match=r"^data_width must be one of 32, 64, 128, 256, 512, not 48$"):
        signature(data_width=48)
    with pytest.raises(ValueError, match=r"^id_width must be at least 1, not 0$"):
        signature(data_width=32, id_width=0)


def test_names_in_verilog():
    """A nested port has two underscores, which a tool that looks for AXI ports takes for part of the bus's name."""
    text = emit(AxiReader(data_width=32, depths=[16]), "axi_reader")
    assert "output [39:0] bus__araddr;" in text
    assert "input bus__rvalid;" in text
