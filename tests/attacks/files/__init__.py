"""Attacks on everything that reads files."""
