"""The verbs of `adwright creative`."""
