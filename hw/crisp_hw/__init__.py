"""The hardware of CRISP, in Amaranth: a sparse systolic engine, its blocks, and their way to Verilog and to an FPGA."""
