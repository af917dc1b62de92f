"""Cascades of any number of models and rules, each measured before it serves."""
