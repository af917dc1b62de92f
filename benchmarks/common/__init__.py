"""What several benchmarks share: the result file, data tasks and reference scores."""
