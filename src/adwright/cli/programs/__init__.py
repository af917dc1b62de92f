"""The verbs of `adwright programs`."""
