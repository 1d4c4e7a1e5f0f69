"""Benchmarks: `python -m benchmarks.<question> [--quick] --json FILE`, one question each."""
