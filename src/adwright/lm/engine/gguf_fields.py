"""The fields of a GGUF file that are asked for.

The package gguf reads every field of a file into arrays of their own, which takes seconds for a
vocabulary; this passes over what is not asked for.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adwright.core.errors import AssetError

__all__ = ["gguf_fields"]

_STRING, _ARRAY = 8, 9
#: The numbers of GGUF by their code: their letter in `struct`.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"} | {
    12: "d"
}


def gguf_fields(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The fields of a GGUF file whose keys are `wanted`; arrays are lists.

    Raises AssetError where it is no GGUF file of version 2 or 3, or is cut off.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, version, _, count = struct.unpack_from("<4sIQQ", data, 0)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError("it does not begin as one of version 2 or 3")
        at, found = 24, {}
        for _ in range(count):
            key, at = _string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            value, at = _value(data, at + 4, kind, keep=wanted(key))
            if wanted(key):
                found[key] = value
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise AssetError(
            f"the GGUF file cannot be read: {error}",
            where=str(path),
            hint="name a GGUF file; where it was downloaded, download it again",
        ) from error
    return found


def _string(data: memoryview, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise ValueError("it is cut off")
    return str(data[at + 8 : end], "utf-8", "replace"), end


def _value(data: memoryview, at: int, kind: int, *, keep: bool) -> tuple[Any, int]:
    """The value at `at`, None where it is not kept, and where the next one begins."""
    if kind == _STRING:
        return _string(data, at)
    if kind != _ARRAY:
        form = f"<{_NUMBERS[kind]}"
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", data, at)
    if inner == _ARRAY:
        raise ValueError("it has an array of arrays")
    at += 12
    if inner in _NUMBERS:
        form = f"<{count}{_NUMBERS[inner]}"
        end = at + struct.calcsize(form)
        return (list(struct.unpack_from(form, data, at)) if keep else None), end
    found = []
    for _ in range(count):
        if inner == _STRING and not keep:
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8 + length
        else:
            one, at = _value(data, at, inner, keep=keep)
            found.append(one)
    return found, at
