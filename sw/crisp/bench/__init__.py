"""Benchmarks: everything that the README's tables show, measured, kept as records, and told in documents."""
