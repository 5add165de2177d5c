"""The one training loop, its optimiser, its metrics."""
