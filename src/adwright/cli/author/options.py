"""Options of the verbs of `adwright author`, and what they mean."""

from __future__ import annotations

from pathlib import Path

from adwright.core.errors import ConfigError


def comma_list(text: str | None) -> tuple[str, ...]:
    """The parts of a,b,c."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def pairs_of(option: str, given: list[str] | None) -> tuple[tuple[str, str], ...]:
    """The pairs of NAME=TEXT, each given by itself. option: whose they are, for the ConfigError."""
    found = []
    for one in given or ():
        name, sign, text = one.partition("=")
        if not sign or not name.strip() or not text.strip():
            raise ConfigError(f"{one[:60]!r} is no pair", where=option, hint="write NAME=TEXT")
        found.append((name.strip(), text.strip()))
    return tuple(found)


def read_labels(path: Path | None) -> tuple[str, ...]:
    """The lines of a file that are not blank, each once. Raises ConfigError where it cannot be
    read, or has none."""
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(
            f"the labels cannot be read: {why}", where=str(path), hint="a label a line, in UTF-8"
        ) from error
    labels = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not labels:
        raise ConfigError("the file has no label", where=str(path), hint="write a label a line")
    return labels
