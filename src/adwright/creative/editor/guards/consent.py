"""The consent manifest: whose face may be edited, on what ground, and until when.

    # consent.toml
    [[entries]]
    kind = "release"                  # synthetic, release, own_likeness
    who = "model 17, contract 2026-031"
    adult = "declared"                # declared, minor, unknown
    until = 2027-12-31
    picture = "3f0a..."               # hash of the picture's pixels
    box = [172, 67, 277, 172]         # of the face in it

    consent_manifest("consent.toml").entry_for(picture, box)

An entry names a face by the picture's hash and a box, or by `crop`, the hash of the face's crop as
`FacePlace.cut` makes it at 64 pixels. A box matches where it overlaps the face's by half of their
union: a detector finds it a little differently each time. A face that no entry names has no
consent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import load_toml, settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.creative.editor.provenance.hashes import Box, overlap, picture_hash
from adwright.creative.faces.aligning import FacePlace

__all__ = ["ConsentEntry", "ConsentManifest", "consent_manifest", "crop_hash"]

_CROP = 64
_SAME = 0.5
_HEX = frozenset("0123456789abcdef")


@settings
class ConsentEntry:
    """kind: synthetic (nobody's), release (signed by the person shown), own_likeness (of the one
    who edits). who: whom to ask for the paper; needed but for synthetic faces. adult: declared, or
    known to be a minor, or unknown. until: the last day, None for no end."""

    kind: Literal["synthetic", "release", "own_likeness"]
    who: str = ""
    adult: Literal["declared", "minor", "unknown"] = "unknown"
    until: date | None = None
    picture: str = ""
    box: Box | None = None
    crop: str = ""

    def __post_init__(self) -> None:
        by_box = bool(self.picture) and self.box is not None and not self.crop
        by_crop = bool(self.crop) and not self.picture and self.box is None
        if by_box == by_crop:
            raise ConfigError(
                "an entry names a face by picture and box, or by crop",
                where="ConsentEntry",
                hint="give the one or the other",
            )
        name = self.crop or self.picture
        if len(name) != 64 or not set(name) <= _HEX:
            raise ConfigError(
                f"{name[:12]!r} is no SHA-256", where="ConsentEntry", hint="64 hexadecimal digits"
            )
        if self.kind != "synthetic" and not self.who.strip():
            raise ConfigError(
                f"a {self.kind} says who gave it", where="ConsentEntry.who", hint="name the paper"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the entry, by which the log names it."""
        return content_hash(to_jsonable(self))

    def has_ended(self, now: datetime) -> bool:
        """Whether its last day is over everywhere on Earth."""
        return self.until is not None and (now.astimezone(UTC) - timedelta(hours=12)).date() > (
            self.until
        )


@dataclass(frozen=True)
class ConsentManifest:
    """entries: of all faces that may be edited."""

    entries: tuple[ConsentEntry, ...] = ()

    def entry_for(self, picture: str, box: Box, crop: str = "") -> ConsentEntry | None:
        """The entry of the face with this box in the picture with this hash, or with this hash of
        its crop; of several that of a minor, else the one that overlaps most. None where there is
        none."""
        found: list[tuple[float, ConsentEntry]] = []
        for entry in self.entries:
            if entry.crop:
                share = 1.0 if crop and entry.crop == crop else 0.0
            else:
                same = entry.picture == picture and entry.box is not None
                share = overlap(entry.box, box) if same and entry.box is not None else 0.0
            if share >= _SAME:
                found.append((share, entry))
        if not found:
            return None
        return max(found, key=lambda one: (one[1].adult == "minor", one[0]))[1]

    def boxes(self, picture: str) -> tuple[Box, ...]:
        """Of the faces that entries name in the picture with this hash, in their order."""
        found = (entry.box for entry in self.entries if entry.picture == picture)
        return tuple(box for box in found if box is not None)

    def minors(self, picture: str, boxes: Sequence[Box]) -> list[bool]:
        """Of each box whether an entry declares the face to be a minor's."""
        entries = (self.entry_for(picture, box) for box in boxes)
        return [entry is not None and entry.adult == "minor" for entry in entries]


def consent_manifest(path: str | Path) -> ConsentManifest:
    """The manifest of a TOML file. Raises ConfigError naming the file and the key."""
    return load_toml(path, ConsentManifest)


def crop_hash(picture: NDArray[np.uint8], place: FacePlace) -> str:
    """The name of a face by its crop of 64 pixels."""
    return picture_hash(place.cut(picture, _CROP))
