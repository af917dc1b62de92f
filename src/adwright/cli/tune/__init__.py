"""The verbs of `adwright tune`."""
