"""One file a revision, each named after its place in the line and what it brings."""
