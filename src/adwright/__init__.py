"""adwright: an ad's whole life on one stack, from the log to the next decision.

Importing this package loads nothing heavy: import the room you need, for example
``from adwright.core.artifacts import load_artifact``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
