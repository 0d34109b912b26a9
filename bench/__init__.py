"""Benchmarks, run by ``make bench``: each ratio is measured within one run. None is a test."""
