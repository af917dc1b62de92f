"""Measures of texts: what they claim, how near they come to another text, how they differ."""
