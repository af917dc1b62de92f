"""The rooms at work on real data: `make demo`."""
