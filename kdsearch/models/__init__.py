"""Forecasting networks and the classical rows beside them."""
