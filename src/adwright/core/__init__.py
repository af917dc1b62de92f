"""Errors, settings, artifacts, journals, child processes, progress and clocks.

Nothing here imports torch, and nothing here knows what an ad is.
"""
