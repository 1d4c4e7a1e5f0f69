"""Engines, HTTP, command line, environment variables, threads: everything that is somebody else's API."""
