"""The verbs of `adwright train`."""
