"""Stream a task from disk as ragged batches of tensors."""
