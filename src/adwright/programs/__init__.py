"""Calls of language models that form a graph, run as one."""
