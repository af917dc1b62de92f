"""Parts of the benchmark of edits: drawn ads and their judges, searches, guards, files."""
