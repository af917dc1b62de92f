"""The verbs of `adwright author`."""
