"""Train on texts packed without padding, and several LoRA jobs over one base."""
