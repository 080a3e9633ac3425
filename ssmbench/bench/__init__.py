"""Benchmarks: speed and accuracy of the scans, compared with a memory copy and other libraries."""
