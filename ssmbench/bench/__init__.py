"""Benchmarks: the scans beside a memory copy and other libraries, timed in turns."""
