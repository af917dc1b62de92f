"""Benchmarks of the agent, and the applications that it operates in them."""
