"""How many files of src an addition touches: each module adds something made up to a copy."""
