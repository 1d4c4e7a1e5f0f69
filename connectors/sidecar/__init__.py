"""The sidecar: one HTTP service beside the engines, over one store directory."""
