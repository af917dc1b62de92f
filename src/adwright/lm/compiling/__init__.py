"""Check JSON schemas and grammars of strangers: by size first, then in a process that may die."""
