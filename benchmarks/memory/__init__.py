"""How well ads will be remembered, and a writer that learns from it."""
