"""The command line: a verb each, no logic.

What a verb needs is imported when it runs, so that `adwright --help` answers at once.
"""

from adwright.cli.app import app, main

__all__ = ["app", "main"]
