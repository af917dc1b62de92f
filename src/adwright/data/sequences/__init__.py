"""Item sequences per user, for sequential models."""
