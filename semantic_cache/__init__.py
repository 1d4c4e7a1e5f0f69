"""Reuse of answers: the same question, asked again in other words. Empty until it works."""
