"""The tasks of authoring: what a model is shown, what it has to write, and how that is read."""
