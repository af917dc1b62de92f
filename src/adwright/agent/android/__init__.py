"""Phones: what UIAutomator shows, and what ADB does."""
