"""Benchmarks: what the README's tables show of cycles, speed and area, measured, kept as records, and told in documents."""
