"""Which running ads to stop, why, and what that would have saved."""
