"""A closed-loop simulator that serves, shops and tests A against B."""
