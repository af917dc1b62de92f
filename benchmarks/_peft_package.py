"""The package peft, where a script of this folder would find benchmarks/peft.py by that name."""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["peft"]

_HERE = sys.path.pop(0)
try:
    peft = import_module("peft")
finally:
    sys.path.insert(0, _HERE)
