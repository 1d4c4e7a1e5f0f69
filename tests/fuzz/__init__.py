"""Millions of damaged and forged frames: every decoder refuses them by name, or decodes to what is legal.

`python -m tests.fuzz --frames 1000000 --seed 0` (or `make fuzz`) is the long run; `test_fuzz.py` a short one.
A frame is named by seed, subject and index, and is the same in every process.
"""
