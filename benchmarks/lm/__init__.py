"""Benchmarks of language model engines, adapters and parameter-efficient tuning."""
