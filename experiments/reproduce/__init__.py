"""``python -m experiments.reproduce``: what the paper shows, rebuilt on any dataset."""
