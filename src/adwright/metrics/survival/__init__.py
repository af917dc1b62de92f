"""Measures of lives that are not over: order, curves, calibration."""
