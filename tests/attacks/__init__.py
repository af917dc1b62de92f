"""Attacks from outside on everything that takes something from outside, area by area."""
