"""Measurements of speed and memory; each command prints a table. What they gave is in RESULTS.md."""
