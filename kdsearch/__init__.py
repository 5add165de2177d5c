"""Hyperparameter search for knowledge distillation and KD-guided pruning of traffic-forecasting networks."""

__version__ = "0.1.0"
