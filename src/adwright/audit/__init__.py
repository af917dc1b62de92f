"""Measure how far the texts of sellers push a product up a model's list, and bound it."""
