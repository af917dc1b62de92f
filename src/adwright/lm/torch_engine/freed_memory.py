"""Give freed memory back to the system.

Weights that are let go return to the C library, which keeps what lies between pieces still in use
for later requests: a program that closes a model stays about as large as it was. glibc can be
asked to return all of it.
"""

from __future__ import annotations

import ctypes
import gc

__all__ = ["give_back"]


def give_back() -> None:
    """Collect garbage and return free memory to the system, in about a tenth of a second.
    Without glibc (macOS, musl) only the first."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return
    trim(0)
