"""The vLLM connector: an engine's paged KV is kept in a store and taken back from there."""
