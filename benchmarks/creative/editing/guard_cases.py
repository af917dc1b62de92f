"""Cases that the guard must refuse, or record: each with the code that it is expected to give.

The picture is drawn, with two faces; the mover shades crops, and says its directions in a space of
8 dimensions of which four are locked. Every case is one request, or a sequence whose last is meant.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.clock import SystemClock
from adwright.core.errors import AdwrightError
from adwright.creative.editor.edit_kinds import EditContext, Exposure, FaceMove
from adwright.creative.editor.edit_plan import EditPlan, TextOverlay
from adwright.creative.editor.guard import EditGuard, EditLog, EditRequest
from adwright.creative.editor.guard_rules import (
    SKIN_LIMITS,
    AgeCheck,
    ConsentEntry,
    ConsentManifest,
    DirectionCard,
    DirectionRules,
    DriftCheck,
    skin_tone,
)
from adwright.creative.editor.provenance import picture_hash
from adwright.creative.faces.aligning import FacePlace
from benchmarks.creative.editing.cells import Rows

_AXES = np.eye(8)
PLACES = (FacePlace.of_box(70, 60, 118, 108), FacePlace.of_box(200, 90, 248, 138))
VECTORS = {
    "smile": _AXES[0],
    "gaze": _AXES[1],
    "pose": _AXES[2],
    "glow": 0.96 * _AXES[3] + 0.28 * _AXES[5],
    "calm": -0.96 * _AXES[3] + 0.28 * _AXES[5],
    "age": _AXES[5],
    "skin": _AXES[6],
    "feminine": _AXES[4],
    "smile_2": _AXES[0],
}
LOCKED = {"gender": _AXES[4], "age": _AXES[5], "skin": _AXES[6], "ethnicity": _AXES[7]}
POLITICS = (
    "Vote for Ada", "Elect Smith mayor", "On election day", "Re-elect the governor",
    "Senator Smith for you", "The Labour Party", "Ban guns now", "V0te for Ada",
    "Vоte for Ada", "Polling stations near you",
)  # fmt: skip
HEALTH = (
    "Cures diabetes", "Lose 10 kg in a week", "Clinically proven", "Boosts your immunity",
    "Relief from back pain", "Burns belly fat", "Detox your liver", "A miracle pill",
    "Doctors recommend it", "Cur3s diabetes",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shader:
    """Moves a crop by adding grey levels along each direction, in red, green or blue."""

    names: tuple[str, ...] = tuple(VECTORS)
    side: int = 32
    strength: float = 40.0

    def moved(self, crops: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """uint8 [N, 32, 32, 3]."""
        shift = np.zeros((len(crops), 1, 1, 3))
        for at in range(len(self.names)):
            shift[:, 0, 0, at % 3] += self.strength * amounts[:, at]
        made: np.ndarray = np.clip(crops + shift, 0, 255).astype(np.uint8)
        return made

    def vector(self, name: str) -> np.ndarray:
        """float64 [8]."""
        found: np.ndarray = VECTORS[name]
        return found


@dataclass(frozen=True, eq=False)
class GuardCase:
    """kind: of the case. code: that one of its refusals has; empty where it is to be allowed.
    run: asks, and gives the codes of the refusals."""

    kind: str
    name: str
    code: str
    run: Callable[[_Room], list[str]] = field(repr=False)


class _Room:
    """What a case needs: a picture, a manifest that lets both faces be moved, a guard, a log."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        picture = np.full((240, 320, 3), (120, 140, 160)) + rng.integers(-12, 13, (240, 320, 3))
        for place in PLACES:
            left, top, right, bottom = place.pixels(picture.shape)
            picture[top:bottom, left:right] = [205, 160, 130]
        self.picture = np.clip(picture, 0, 255).astype(np.uint8)
        self.clock = SystemClock()
        self.log = EditLog(folder / "edits.jsonl", self.clock)
        cards = [
            DirectionCard.of(name, group, VECTORS[name])  # type: ignore[arg-type]
            for name, group in (("smile", "expression"), ("gaze", "gaze"), ("pose", "pose"),
                                ("glow", "light"), ("calm", "light"))
        ]  # fmt: skip
        self.rules = DirectionRules(tuple(cards), LOCKED)  # type: ignore[arg-type]
        self.entries = tuple(
            ConsentEntry(
                "release", "contract 17", "declared",
                picture=picture_hash(self.picture), box=place.pixels(self.picture.shape),
            )
            for place in PLACES
        )  # fmt: skip
        self.guard = EditGuard(self.rules, ConsentManifest(self.entries), log=self.log)

    def context(self, picture: np.ndarray, mover: Shader | None = None) -> EditContext:
        moves: Any = mover or Shader()
        return EditContext(None, None, PLACES, moves, "feather")

    def ask(
        self,
        amounts: dict[str, float],
        *,
        guard: EditGuard | None = None,
        picture: np.ndarray | None = None,
        text: str = "",
        places: tuple[FacePlace, ...] | None = None,
        face: int = 0,
        mover: Shader | None = None,
        more: tuple[object, ...] = (),
    ) -> tuple[list[str], np.ndarray | None]:
        """The codes of what is refused, and the picture where it was edited."""
        seen = self.picture if picture is None else picture
        context = self.context(seen, mover)
        if places is not None:
            context = replace(context, places=places)
        names = tuple(amounts)
        rows = [(0.0,) * len(names)] * face + [tuple(amounts.values())]
        edits = ((FaceMove(names, tuple(rows)),) if names else ()) + more
        plan = EditPlan(edits)  # type: ignore[arg-type]
        request = EditRequest(seen, plan, context, text)
        try:
            done = (guard or self.guard).edited(request, self.clock, approver="Ada", model="m")
        except AdwrightError as error:
            return [type(error).__name__], None
        codes: list[str] = [one.code for one in done.verdict.refusals]
        return codes, None if done.done is None else done.done.picture


def cases() -> Iterator[GuardCase]:
    """All of them, refused and allowed ones."""
    yield from _words()
    yield from _consent()
    yield from _ages()
    yield from _directions()
    yield from _histories()


def guard_rows() -> Rows:
    """A row a case: what was expected and what the guard said."""
    rows: Rows = []
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            said = case.run(_Room(Path(folder)))
        right = case.code in said if case.code else not said
        rows.append(
            {"kind": case.kind, "name": case.name, "expected": case.code, "said": said,
             "right": right}
        )  # fmt: skip
    return rows


def _case(kind: str, name: str, code: str, **told: object) -> GuardCase:
    amounts = told.pop("amounts", {"smile": 0.4})
    return GuardCase(kind, name, code, lambda room: room.ask(amounts, **told)[0])  # type: ignore[arg-type]


def _words() -> Iterator[GuardCase]:
    for text in POLITICS:
        yield _case("politics", text, "political", amounts={}, text=text)
    for text in HEALTH:
        yield _case("health claim", text, "health_claim", amounts={}, text=text)
    for text, code in (("Vote for Ada", "political"), ("Cures diabetes", "health_claim")):
        over = TextOverlay(text, opacity=1.0)
        yield _case("words laid over", text, code, amounts={}, more=(over,))
    for text in ("Vote for your favourite flavour", "A healthy breakfast", "Fresh today"):
        yield _case("allowed words", text, "", amounts={}, text=text, more=(Exposure(0.2),))


def _consent() -> Iterator[GuardCase]:
    def guarded(**told: object) -> Callable[[_Room], EditGuard]:
        return lambda room: replace(room.guard, **told)  # type: ignore[arg-type]

    def asked(kind: str, name: str, code: str, make: Callable[[_Room], EditGuard], **told: object):  # type: ignore[no-untyped-def]
        def run(room: _Room) -> list[str]:
            return room.ask({"smile": 0.4}, guard=make(room), **told)[0]  # type: ignore[arg-type]

        return GuardCase(kind, name, code, run)

    yield asked("manifest", "none", "no_manifest", guarded(manifest=None))
    yield asked("manifest", "empty", "no_consent", guarded(manifest=ConsentManifest()))
    yield _case("allowed", "with consent", "")
    for name, change in (
        ("another picture's hash", {"picture": "0" * 64}),
        ("a box elsewhere", {"box": (5, 5, 40, 40)}),
        ("a box that overlaps by a third", {"box": (100, 60, 148, 108)}),
    ):
        yield asked(
            "wrong hash or box", name, "no_consent",
            lambda room, change=change: replace(  # type: ignore[misc]
                room.guard, manifest=ConsentManifest((replace(room.entries[0], **change),))
            ),
        )  # fmt: skip
    for days in (2, 30, 400):
        yield asked(
            "expired", f"{days} days ago", "expired",
            lambda room, days=days: replace(  # type: ignore[misc]
                room.guard,
                manifest=ConsentManifest(
                    (replace(room.entries[0], until=date.today() - timedelta(days=days)),)
                ),
            ),
        )  # fmt: skip
    yield asked(
        "unlisted face", "the second face", "no_consent",
        lambda room: replace(room.guard, manifest=ConsentManifest(room.entries[:1])), face=1,
    )  # fmt: skip
    near = FacePlace.of_box(90, 70, 138, 118)
    for name, told in (
        ("named in the request", {"places": (PLACES[0], near)}),
        ("found by the finder", {}),
    ):
        found = {} if told else {"finder": lambda picture: (near,)}
        yield asked(
            "face in the background", name, "other_face",
            lambda room, found=found: replace(  # type: ignore[misc]
                room.guard, manifest=ConsentManifest(room.entries[:1]), **found
            ), **told,
        )  # fmt: skip
    yield _case("face that is not there", "number 7", "no_consent", places=(), face=0)


def _ages() -> Iterator[GuardCase]:
    def aged(name: str, code: str, adult: str, years: float | None) -> GuardCase:
        def run(room: _Room) -> list[str]:
            entry = replace(room.entries[0], adult=adult)  # type: ignore[arg-type]
            check = AgeCheck() if years is None else AgeCheck(lambda crop: years)
            guard = replace(room.guard, manifest=ConsentManifest((entry,)), ages=check)
            return room.ask({"smile": 0.4}, guard=guard)[0]

        return GuardCase("age", name, code, run)

    yield aged("declared a minor", "minor", "minor", None)
    yield aged("declared a minor, looks 40", "minor", "minor", 40.0)
    yield aged("undeclared, looks 12", "minor", "unknown", 12.0)
    yield aged("undeclared, looks 20", "minor", "unknown", 20.0)
    yield aged("undeclared, looks 24.9", "minor", "unknown", 24.9)
    yield aged("declared adult, looks 8", "minor", "declared", 8.0)
    yield aged("undeclared, no estimate", "age_unknown", "unknown", None)
    yield aged("undeclared, estimate fails", "age_unknown", "unknown", float("nan"))
    yield aged("undeclared, looks 40: allowed", "", "unknown", 40.0)


def _directions() -> Iterator[GuardCase]:
    for name in ("age", "skin", "feminine"):
        yield _case("locked direction", name, "locked_direction", amounts={name: 0.3})
        yield _case(
            "locked direction", f"{name}, taken back", "locked_direction",
            amounts={"smile": 0.3, name: -0.1},
        )  # fmt: skip
    yield _case("not on the list", "smile_2", "not_allowed", amounts={"smile_2": 0.3})
    for amounts in ({"glow": 0.9, "calm": 0.9}, {"glow": 0.5, "calm": 0.5},
                    {"glow": 1.4, "calm": 1.2, "smile": 0.1}):  # fmt: skip
        yield _case("mixture", f"{amounts}", "mixture", amounts=amounts)

    def renamed(room: _Room) -> list[str]:
        class Other(Shader):
            def vector(self, name: str) -> np.ndarray:
                return Shader.vector(self, "pose" if name == "smile" else name)

        return room.ask({"smile": 0.4}, mover=Other())[0]

    def renamed_locked(room: _Room) -> list[str]:
        class Other(Shader):
            def vector(self, name: str) -> np.ndarray:
                return Shader.vector(self, "age" if name == "smile" else name)

        return room.ask({"smile": 0.4}, mover=Other())[0]

    yield GuardCase("renamed", "pose as smile", "renamed_direction", renamed)
    yield GuardCase("renamed", "age as smile", "locked_direction", renamed_locked)

    def drifts(strength: float) -> Callable[[_Room], list[str]]:
        def run(room: _Room) -> list[str]:
            guard = replace(room.guard, drift=DriftCheck(skin_tone, SKIN_LIMITS))
            return room.ask({"smile": 0.5}, guard=guard, mover=Shader(strength=strength))[0]

        return run

    yield GuardCase("drift", "skin redder by 40 levels", "drift", drifts(80.0))
    yield GuardCase("drift", "skin darker", "drift", drifts(-80.0))
    yield GuardCase("allowed", "skin as it was", "", drifts(2.0))


def _histories() -> Iterator[GuardCase]:
    def again(amounts: dict[str, float], times: int) -> Callable[[_Room], list[str]]:
        def run(room: _Room) -> list[str]:
            codes, picture = [""], room.picture
            for _ in range(times):
                codes, new = room.ask(amounts, picture=picture)
                if new is None:
                    break
                picture = new
            return codes

        return run

    yield GuardCase("edit of an edit", "smile twice .9", "too_far", again({"smile": 0.9}, 2))
    yield GuardCase("edit of an edit", "smile four times .4", "too_far", again({"smile": 0.4}, 4))
    yield GuardCase("allowed", "smile twice .5", "", again({"smile": 0.5}, 2))

    def small_steps(room: _Room) -> list[str]:
        _, picture = room.ask({"glow": 0.8})
        if picture is None:
            return ["refused at once"]
        return room.ask({"calm": 0.8}, picture=picture)[0]

    def stripped(room: _Room) -> list[str]:
        _, picture = room.ask({"smile": 0.4})
        if picture is None:
            return []
        return room.ask({"smile": 0.1}, picture=picture, guard=replace(room.guard, log=None))[0]

    def changed(room: _Room) -> list[str]:
        _, picture = room.ask({"smile": 0.4})
        if picture is None:
            return []
        other = picture.copy()
        other[0, 0] ^= 1
        return room.ask({"smile": 0.1}, picture=other)[0]

    def tampered(room: _Room) -> list[str]:
        _, picture = room.ask({"smile": 0.4})
        text = room.log.path.read_text("utf-8")
        room.log.path.write_text(text.replace("0.4", "0.1"), "utf-8")
        return room.ask({"smile": 0.1}, picture=picture)[0]

    yield GuardCase("mixture over time", "glow, then calm", "mixture", small_steps)
    yield GuardCase("stranger", "log not at hand", "no_consent", stripped)
    yield GuardCase("stranger", "a pixel changed", "no_consent", changed)
    yield GuardCase("log", "an entry was changed", "log_broken", tampered)
