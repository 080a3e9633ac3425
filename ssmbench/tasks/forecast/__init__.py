"""Forecasting of recorded series."""
