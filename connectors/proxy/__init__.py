"""The proxy: an OpenAI-compatible front of the sidecar, whose answers come from the semantic cache or an upstream."""
