"""Methods that train a low-dimensional form of the weight change: LoRA and its kin."""
