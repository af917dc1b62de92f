"""The version of adwright, which artifacts, checkpoints and services name."""

__all__ = ["__version__"]

__version__ = "0.1.0"
