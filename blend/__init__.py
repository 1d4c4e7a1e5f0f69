"""Reuse away from the prefix: segments, and the fusing of segments into one KV array. Empty until it works."""
