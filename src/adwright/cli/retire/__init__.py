"""The verbs of `adwright retire`."""
