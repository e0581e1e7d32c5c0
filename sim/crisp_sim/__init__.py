"""Simulation: cocotb runner and bench classes, the fast Verilator harness of the engine, random layers."""
