"""Pictures back into latents: the training of the encoder, its artifact, and a refinement."""
