"""Checkpoints of others: common public layouts of StyleGAN2 and of e4e, read into our networks."""
