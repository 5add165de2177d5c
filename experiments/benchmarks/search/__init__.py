"""Search efficiency: ours beside random search, plain Optuna, stock Ray Tune and Syne Tune, on one trainable.

``python -m experiments.benchmarks.search`` runs them, a process each, and reports. Importing any module here needs
none of the rivals.
"""
