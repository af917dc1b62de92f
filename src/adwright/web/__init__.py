"""What the HTTP API and the console share: server, key gate, errors, limits, metrics."""
