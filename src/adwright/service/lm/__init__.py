"""OpenAI-compatible endpoints over a language model."""
