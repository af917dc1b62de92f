"""The version of adwright, which artifacts, checkpoints and services name."""

__version__ = "0.1.0"
