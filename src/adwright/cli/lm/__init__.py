"""The verbs of `adwright lm`."""
