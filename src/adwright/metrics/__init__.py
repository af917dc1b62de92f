"""Every measure: pure functions on arrays, without torch."""
