"""Consoles operated by scripts that are checked before they act."""
