"""Operates an app for people: explores it, does tasks, asks for a yes, and keeps what was done."""
