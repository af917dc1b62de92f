"""Programs written as Python functions, and shown as text and pictures."""
