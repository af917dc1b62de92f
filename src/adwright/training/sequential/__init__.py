"""Train, validate and export sequential models."""
