"""The decision endpoint: routes, batching, deadlines, shedding, and writing events."""
