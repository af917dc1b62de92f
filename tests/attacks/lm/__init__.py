"""Attacks on the servers of language models."""
