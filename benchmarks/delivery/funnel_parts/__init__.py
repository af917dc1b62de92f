"""The parts of the benchmark of the whole way, from a log to an answer."""
