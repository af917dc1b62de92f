"""SHA-256 of files and of plain values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from adwright.core.errors import ConfigError

_CHUNK_BYTES = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """SHA-256 of the file's bytes, read in pieces of 1 MiB so that its size does not matter."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def content_hash(value: object) -> str:
    """SHA-256 of the canonical JSON of `value`: the same for equal values, in any key order.

    value: None, bool, int, finite float, str, and lists, tuples and dicts (keys str) of
    them. A tuple hashes like the list of its members; 1 and 1.0 hash differently.
    Raises ConfigError for anything else, NaN and infinity included.
    """
    _check_keys(value)
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return sha256_bytes(text.encode("utf-8"))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the value has no canonical JSON: {error}",
            where=type(value).__name__,
            hint="use None, bool, int, finite float, str, list and dict with str keys",
        ) from error


def _check_keys(value: object) -> None:
    # json.dumps would turn the keys 1 and "1" into the same text.
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise ConfigError(
                    "a key of a hashed dict is not a string",
                    where=repr(key),
                    hint="convert the keys to str",
                )
            _check_keys(member)
    elif isinstance(value, list | tuple):
        for member in value:
            _check_keys(member)
