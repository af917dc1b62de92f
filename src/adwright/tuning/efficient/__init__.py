"""Methods that save memory or compute while tuning or serving."""
