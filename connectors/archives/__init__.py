"""Chunks and their profiles from a store into an archive, and from an archive into a store."""
