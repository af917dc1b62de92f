"""Texts for a whole catalogue: shops' tables in and out, a journal of drafts, a report."""
