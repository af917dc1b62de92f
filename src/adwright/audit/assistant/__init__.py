"""A shop assistant: it finds products, ranks them, and answers in words of a local model."""
