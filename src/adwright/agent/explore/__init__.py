"""Explores an app by reading alone, and keeps its document up to date."""
