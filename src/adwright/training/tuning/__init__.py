"""Tune language models with the methods of `adwright.tuning`."""
