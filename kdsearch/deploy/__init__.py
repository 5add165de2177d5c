"""A trained network at work: exported with all it needs, and fed with recent readings."""
