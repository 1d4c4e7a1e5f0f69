"""What a store holds and why a prompt is not found in it: what the command line and the sidecar answer alike."""
