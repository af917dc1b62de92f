"""What the audit of rankers publishes."""
