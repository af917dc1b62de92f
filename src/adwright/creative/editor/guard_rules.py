"""Why an edit is refused: a code, a sentence, and what it concerns.

Words of an ad that forbid its editing: politics, and claims about health.

    found = forbidden_words("Cures diabetes in 7 days")
    found[0].kind, found[0].span, found[0].words        # "health_claim", (0, 14), "Cures diabetes"

Rules on words, in English, each a pattern that a lawyer can read; they find what is plainly said,
and nothing that is meant. Letters are compared after compatibility decomposition, without accents,
case and characters that are not seen; Greek and Cyrillic twins of Latin letters, and digits that
stand for letters inside a word, count as these. Spans are of the text as it was given.

What is no claim is not found: "a healthy breakfast", "vote for your favourite flavour". Lists and
limits are our choice.

No edit of a minor's face: by what the manifest declares, or by an estimate with a margin.

    AgeCheck(estimate=model).refusal(entry, crop, 0)

An age that is estimated is a number with an error of years. So a face passes by its estimate alone
only where the estimate less the margin is 18 or more. What is declared weighs more in one
direction only: a minor who is declared is refused whatever the estimate says; an adult who is
declared is refused where the estimate plus the margin stays below 18. The margin, 7 years, is our
choice: about the mean error of open models (4 to 6 years) and a little more.

The consent manifest: whose face may be edited, on what ground, and until when.

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

Drift: how far an edit moved what it should not have, measured on the edited face itself.

    check = DriftCheck(reader, {"age": 2.0, "skin": 0.05})
    check.measured(before, after)          # Drift: of each attribute the change; those beyond it

A direction that is allowed may still move more than its name says. So attributes of the face are
estimated before and after by a reader, any callable from a crop to numbers by name; where one moves
further than its limit, the edit is stopped, whatever it was meant to do. Limits are in the units of
the reader, and belong to the reader: set each at what it says of the same face cut twice, or more.
What earlier edits of the same face changed counts too, so many small steps are one large one.

How light and how warm the skin of a face is, measured on its pixels: a reader for drift.

    skin_tone(crop)                                # {"skin_light": .61, "skin_warm": .12}
    DriftCheck(skin_tone, SKIN_LIMITS)

Read is the middle of the crop, the ellipse of half its width and height below the eyes, in which
there is cheek, nose and mouth; the median, so that lashes, lips and teeth count little.

    skin_light   median luma of Rec. 709, 0 to 1
    skin_warm    median of red less blue, 0 to 1

No model is asked, so there is nothing that could be fooled; nor does it know what lies beside skin.
Limits are our choice: about what the same photograph differs by under another light of a room.

Directions that may be used, those that never may, and mixtures of the first that come to the
second.

    rules = DirectionRules(
        allowed=(DirectionCard.of("smile", "expression", vector),),
        locked={"gender": gender, "age": age, "skin": skin, "ethnicity": ethnicity},
    )
    rules.refusals(vectors, amounts, face)

A direction is allowed by its card: its name, its group (expression, gaze, pose, light), and the
hash of its vector, so a locked direction under an allowed name is found. What the groups gender,
age, skin and ethnicity move is *locked*: given as vectors in the same space, as many as are known.

Of all that a face is moved, v = sum_k a_k n_k, over all edits of a plan and all earlier edits of
the log, the part along the locked directions is bounded. With an orthonormal basis Q of these,

    leak = |Q Q' v|,     refused where leak > MOST_LEAK, or leak > MOST_SHARE |v|

so neither a mixture, nor many small steps, nor a direction that leans towards a locked one passes.
Our choice: .25 of the length 1 that a whole step has, and a share of .35.
"""

from __future__ import annotations

import math
import re
import tomllib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, Gt, Le, load_toml, settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.editor.provenance import Box, overlap, picture_hash
from adwright.creative.faces.aligning import FacePlace, require_picture

RefusalCode = Literal[
    "no_manifest",
    "no_consent",
    "expired",
    "minor",
    "age_unknown",
    "other_face",
    "political",
    "health_claim",
    "unknown_direction",
    "locked_direction",
    "not_allowed",
    "renamed_direction",
    "mixture",
    "too_far",
    "drift",
    "log_broken",
]


@settings
class Refusal:
    """reason: a sentence for people. face: its number, where it is about one. span: of the ad's
    text, first character and the one after the last, where it is about words."""

    code: RefusalCode
    reason: str
    face: int | None = None
    span: tuple[int, int] | None = None


Kind = Literal["political", "health_claim"]

#: Letters of other scripts that look like Latin ones.
_TWINS = str.maketrans("аеорсухіјѕԁһмтвкнαεορτυικνχ", "aeopcyxijsdhmtbkhaeoptuiknx")
_DIGITS = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"}


@cache
def _patterns() -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    """The rules of forbidden.toml."""
    told = tomllib.loads(files(__package__).joinpath("forbidden.toml").read_text("utf-8"))
    illness = f"(?:{'|'.join(told['illness'])})"
    return tuple(
        (kind, re.compile(pattern.replace("<illness>", illness)))
        for kind in get_args(Kind)
        for pattern in told[kind]
    )


@settings
class ForbiddenWords:
    """kind: of the rule. span: first character and the one after the last. words: these."""

    kind: Kind
    span: tuple[int, int]
    words: str


def forbidden_words(text: str) -> tuple[ForbiddenWords, ...]:
    """What the rules find in a text, in its order, of overlapping finds of a kind the first."""
    plain, places = _plain(text)
    found: list[ForbiddenWords] = []
    for kind, pattern in _patterns():
        for match in pattern.finditer(plain):
            start, end = places[match.start()], places[match.end() - 1] + 1
            found.append(ForbiddenWords(kind, (start, end), text[start:end]))
    kept: list[ForbiddenWords] = []
    for one in sorted(found, key=lambda each: (each.span[0], -each.span[1])):
        over = (each for each in kept if each.kind == one.kind)
        if all(one.span[0] >= each.span[1] for each in over):
            kept.append(one)
    return tuple(kept)


def _plain(text: str) -> tuple[str, list[int]]:
    """The text as the rules see it, and of each of its characters the place in the text."""
    letters: list[str] = []
    places: list[int] = []
    for at, given in enumerate(text):
        for one in unicodedata.normalize("NFKD", given).casefold().translate(_TWINS):
            kind = unicodedata.category(one)
            if kind in ("Mn", "Me", "Cf"):
                continue
            seen = " " if kind[0] in "ZC" else _QUOTES.get(one, one)
            if seen == " " and letters and letters[-1] == " ":
                continue
            letters.append(seen)
            places.append(at)
    for at, one in enumerate(letters):
        if one in _DIGITS and 0 < at < len(letters) - 1:
            before, after = letters[at - 1], letters[at + 1]
            if before.isalpha() and after.isalpha():
                letters[at] = _DIGITS[one]
    return "".join(letters), places


_QUOTES = {"’": "'", "‘": "'", "‐": "-", "‑": "-", "–": "-", "—": "-"}


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


def consent_manifest(path: str | Path) -> ConsentManifest:
    """The manifest of a TOML file. Raises ConfigError naming the file and the key."""
    return load_toml(path, ConsentManifest)


def crop_hash(picture: NDArray[np.uint8], place: FacePlace) -> str:
    """The name of a face by its crop of 64 pixels."""
    return picture_hash(place.cut(picture, _CROP))


#: Years of a crop uint8 [S, S, 3]; not finite where it cannot tell.
AgeEstimate = Callable[[NDArray[np.uint8]], float]


@settings
class AgeCheck:
    """estimate: None for none. margin: years. adult: the age from which on a face may be edited."""

    estimate: AgeEstimate | None = None
    margin: Annotated[float, Ge(0), Le(50)] = 7.0
    adult: Annotated[float, Gt(0), Le(30)] = 18.0

    def refusal(self, entry: ConsentEntry, crop: NDArray[np.uint8], face: int) -> Refusal | None:
        """Why the face of an entry is not edited for its age; None where it may be."""
        if entry.adult == "minor":
            return Refusal("minor", "the manifest declares a minor", face)
        years = math.nan if self.estimate is None else float(self.estimate(crop))
        known = math.isfinite(years)
        if known and years + self.margin < self.adult:
            return Refusal(
                "minor", f"the face looks like {years:.0f} years, far below {self.adult:g}", face
            )
        if entry.adult == "declared":
            return None
        if not known:
            return Refusal("age_unknown", "the age is neither declared nor estimated", face)
        if years - self.margin < self.adult:
            limit = self.adult + self.margin
            return Refusal(
                "minor", f"estimated {years:.0f} years, below {limit:g} and no age declared", face
            )
        return None


#: Numbers by name of a crop uint8 [S, S, 3].
AttributeEstimate = Callable[[NDArray[np.uint8]], Mapping[str, float]]


@dataclass(frozen=True)
class Drift:
    """changes: of each attribute that was read, after less before. over: those beyond their limit,
    and those with a limit that could not be read."""

    changes: Mapping[str, float]
    over: tuple[str, ...]


@dataclass(frozen=True)
class DriftCheck:
    """reader: see the module. limits: of each attribute that is watched."""

    reader: AttributeEstimate
    limits: Mapping[str, float]

    def measured(
        self,
        before: NDArray[np.uint8],
        after: NDArray[np.uint8],
        earlier: Mapping[str, float] | None = None,
    ) -> Drift:
        """The drift between two crops uint8 [S, S, 3] of one face, on top of what earlier edits
        changed. An attribute that is watched and not read, or not a number, counts as beyond its
        limit."""
        first, second = dict(self.reader(before)), dict(self.reader(after))
        told = dict(earlier or {})
        changes = {
            name: float(second[name] - first[name]) + told.get(name, 0.0)
            for name in first
            if name in second
        }
        over = [
            name
            for name, limit in self.limits.items()
            if not abs(changes.get(name, math.nan)) <= limit
        ]
        return Drift(changes, tuple(over))

    def refusal(self, drift: Drift, face: int) -> Refusal | None:
        """Why an edit with this drift is stopped; None where it may stay."""
        if not drift.over:
            return None
        parts = [
            f"{name} {drift.changes.get(name, math.nan):+.3g} (limit {self.limits[name]:g})"
            for name in drift.over
        ]
        return Refusal("drift", f"attributes drifted: {', '.join(parts)}", face)


SKIN_LIMITS: Mapping[str, float] = {"skin_light": 0.06, "skin_warm": 0.06}
_WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
#: Middle and half axes of the ellipse, shares of the crop's sides.
_MIDDLE, _AXES = (0.5, 0.58), (0.22, 0.2)


def skin_tone(crop: NDArray[np.uint8]) -> dict[str, float]:
    """Of a crop uint8 [S, S, 3] of a face. Raises DataError where it is none."""
    require_picture(crop, "crop")
    high, wide = crop.shape[:2]
    y = ((np.arange(high) + 0.5) / high - _MIDDLE[1]) / _AXES[1]
    x = ((np.arange(wide) + 0.5) / wide - _MIDDLE[0]) / _AXES[0]
    inside = y[:, None] ** 2 + x[None] ** 2 <= 1
    seen = crop[inside].astype(np.float64) / 255
    if not len(seen):
        seen = crop.reshape(-1, 3).astype(np.float64) / 255
    return {
        "skin_light": float(np.median(seen @ _WEIGHTS)),
        "skin_warm": float(np.median(seen[:, 0] - seen[:, 2])),
    }


Vector = NDArray[np.float64]
LockedGroup = Literal["gender", "age", "skin", "ethnicity"]
AllowedGroup = Literal["expression", "gaze", "pose", "light"]
_LOCKED: tuple[str, ...] = get_args(LockedGroup)
#: A part of a unit vector that counts as a dimension of its own.
_RANK = 1e-6


@settings
class DirectionCard:
    """name, group: of a direction that may be used. vector: its hash, see `vector_hash`."""

    name: str
    group: AllowedGroup
    vector: str

    @classmethod
    def of(cls, name: str, group: AllowedGroup, vector: Vector) -> DirectionCard:
        """The card of a direction [D]."""
        return cls(name, group, vector_hash(vector))


#: Bounds of what a move leaks, see the module, and of the sum of one direction's amounts.
MOST_LEAK, MOST_SHARE, MOST_MOVED = 0.25, 0.35, 1.5


@settings(eq=False)
class DirectionRules:
    """allowed: cards. locked: of each locked group its direction [D], or several [M, D]; a group
    that is missing has to be named in `unknown`, so that nobody forgets one unseen."""

    allowed: tuple[DirectionCard, ...]
    locked: Mapping[LockedGroup, Vector]
    unknown: tuple[LockedGroup, ...] = ()

    def __post_init__(self) -> None:
        told = [*self.locked, *self.unknown]
        if sorted(told) != sorted(_LOCKED):
            raise ConfigError(
                f"the locked groups are {sorted(told)}",
                where="DirectionRules.locked",
                hint=f"give a direction of each of {_LOCKED}, or name it in unknown",
            )
        names = [card.name for card in self.allowed]
        if len(set(names)) != len(names):
            raise ConfigError("a direction has two cards", where="DirectionRules.allowed")
        _orthonormal(self.locked)  # refuses what is no direction

    @cached_property
    def _basis(self) -> Vector:
        return _orthonormal(self.locked)

    def leak(self, vector: Vector) -> float:
        """How far a move [D] goes along the locked directions. Raises ConfigError for another D."""
        if not self._basis.size:
            return 0.0
        if vector.shape != self._basis.shape[1:]:
            raise ConfigError(
                f"a direction has shape {vector.shape}",
                where="DirectionRules",
                hint=f"the locked ones have {self._basis.shape[1:]}",
            )
        return float(np.linalg.norm(self._basis @ vector))

    def refusals(
        self,
        vectors: Mapping[str, Vector],
        amounts: Mapping[str, float],
        face: int,
        *,
        before: Mapping[str, float] | None = None,
    ) -> tuple[Refusal, ...]:
        """Why a face is not moved by these amounts of each direction; empty where it may be.

        vectors: of each direction [D], as the model uses it. amounts: of each direction that is
        used, also where it is taken back again. before: what earlier edits moved it.
        """
        made: list[Refusal] = []
        earlier = {name: value for name, value in (before or {}).items() if value}
        total = dict(earlier)
        for name, amount in amounts.items():
            total[name] = total.get(name, 0.0) + amount
            refusal = self._of_one(name, vectors.get(name), face)
            if refusal is not None:
                made.append(refusal)
        for name, amount in total.items():
            if abs(amount) > MOST_MOVED + 1e-9:
                reason = f"{name} is moved by {amount:+.2f} in all, at most {MOST_MOVED:g}"
                made.append(Refusal("too_far", reason, face))
        known = [(vectors[name], amount) for name, amount in total.items() if name in vectors]
        if known and not made:
            moved = np.sum([amount * vector for vector, amount in known], axis=0)
            leak, length = self.leak(moved), float(np.linalg.norm(moved))
            if leak > MOST_LEAK or leak > MOST_SHARE * length + 1e-12:
                reason = (
                    f"all moves together go {leak:.2f} of {length:.2f} along locked directions"
                    f" ({', '.join(self.locked)})"
                )
                made.append(Refusal("mixture", reason, face))
        return tuple(made)

    def _of_one(self, name: str, vector: Vector | None, face: int) -> Refusal | None:
        if vector is None:
            return Refusal("unknown_direction", f"the model has no direction {name!r}", face)
        length = float(np.linalg.norm(vector))
        locked = next((group for group in _LOCKED if group in name.lower().split("_")), "")
        if locked or self.leak(vector) > 0.7 * length:
            return Refusal(
                "locked_direction",
                f"{name!r} is of a locked group ({locked or 'by its vector'})",
                face,
            )
        card = next((card for card in self.allowed if card.name == name), None)
        if card is None:
            return Refusal("not_allowed", f"{name!r} is not on the list of directions", face)
        if card.vector != vector_hash(vector):
            return Refusal("renamed_direction", f"{name!r} is another vector than the list's", face)
        return None


def vector_hash(vector: Vector) -> str:
    """SHA-256 of a direction [D], in float32 as generators hold it."""
    return sha256_bytes(np.ascontiguousarray(vector, np.float32).tobytes())


def _orthonormal(locked: Mapping[LockedGroup, Vector]) -> Vector:
    """float64 [R, D]: a basis of all that is spanned by the locked directions."""
    if not locked:
        return np.empty((0, 0))
    rows = [np.atleast_2d(np.asarray(vector, float)) for vector in locked.values()]
    if len({row.shape[1] for row in rows}) != 1 or any(not np.isfinite(row).all() for row in rows):
        raise ConfigError(
            "locked directions differ in length, or are not finite", where="DirectionRules.locked"
        )
    every = np.concatenate(rows)
    lengths = np.linalg.norm(every, axis=1)
    if not lengths.all():
        raise ConfigError("a locked direction is zero", where="DirectionRules.locked")
    _, sizes, basis = np.linalg.svd(every / lengths[:, None], full_matrices=False)
    return np.asarray(basis[sizes > _RANK])
