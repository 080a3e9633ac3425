"""Benchmarks: our operations beside a memory copy and beside peers, in one interleaved run."""
