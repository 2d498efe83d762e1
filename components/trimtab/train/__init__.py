"""Fit one candidate, with honest predictions and calibrated probabilities."""
