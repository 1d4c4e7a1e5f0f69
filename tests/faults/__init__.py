"""Faults on purpose: writers killed, bits flipped, power lost. `python -m tests.faults --help`.

Killing is a matter of timing: a seed gives the same load and the same delays, not the same instant.
"""
