"""Processes of their own for the benchmarks: modules of this repository, run from its root."""

from __future__ import annotations

import sys


def command(module: str, *arguments: object) -> list[str]:
    """The command line of `python -m module`, which finds the benchmarks where `cwd` is ROOT."""
    return [sys.executable, "-m", module, *map(str, arguments)]
