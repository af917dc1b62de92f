"""Benchmarks of retrieval, the cascade, vector indexes and off-policy evaluation."""
