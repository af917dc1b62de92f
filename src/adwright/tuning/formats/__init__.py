"""Tuned parts and merged models in the formats of other programs: peft and llama.cpp."""
