"""Reuse of answers: the same question, asked again, in the same words or in others (`cache.py`)."""
