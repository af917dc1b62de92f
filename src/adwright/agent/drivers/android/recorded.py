"""Plays a recorded app: its view trees, and which act led from which to which.

    device = RecordedDevice(Path("recordings/shop"))
    driver = PhoneDriver(device, gate.decide)

A recording is a folder:

    views/0001.xml            a tree, as UIAutomator writes it
    transitions.jsonl         {"from": "0001", "act": "tap", "node": "/hierarchy/...", "to": "0002"}

"text" is what was typed or opened, or the direction of a swipe; "" where there is none, and null
where a secret was typed, in whose place any secret fits. An act that was not recorded is an error,
and so is one that was recorded with two outcomes: the player never guesses. It begins at the tree
of the first transition.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from adwright.agent.drivers.android.device import ActKind, PhoneAct, app_address
from adwright.agent.drivers.android.ui_tree import MOST_BYTES, read_ui_tree
from adwright.agent.drivers.protocol import DriverError, SeenRequest
from adwright.core.config import check_literals, from_jsonable
from adwright.core.errors import AdwrightError, DataError, FileUnreadableError
from adwright.core.regular import read_regular

__all__ = ["TRANSITIONS", "VIEWS", "RecordedDevice", "Transition", "read_transitions"]

VIEWS, TRANSITIONS = "views", "transitions.jsonl"
_NEEDED = {"from", "act", "node", "to"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Transition:
    """One act: before, after: names of trees; before is empty where no app was open. node: the path
    of the view that was touched. text: None for a secret."""

    before: str
    act: ActKind
    node: str
    after: str
    text: str | None = ""

    def __post_init__(self) -> None:
        check_literals(self)
        for one in filter(None, (self.before, self.after)):
            if not _NAME.fullmatch(one):
                raise DataError(
                    f"{one[:80]!r} is no name of a tree",
                    hint="use letters, digits, - and _",
                )

    def is_of(self, tree: str, act: PhoneAct) -> bool:
        """Whether it tells what this act does there."""
        text = None if act.secret else act.text
        return (self.before, self.act, self.node, self.text) == (tree, act.kind, act.node, text)


class RecordedDevice:
    """A `PhoneDevice`. seen: the names of the trees that were shown. Raises DataError, with file
    and row, for a recording that is broken or incomplete."""

    sees_requests = False

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._transitions = read_transitions(self._folder / TRANSITIONS)
        names = {one for each in self._transitions for one in (each.before, each.after) if one}
        self._trees = {one: _tree(self._folder / VIEWS / f"{one}.xml") for one in sorted(names)}
        self._now = self._transitions[0].before
        self.seen = [self._now]

    def dump(self) -> bytes:
        """The tree that is shown now."""
        if not self._now:
            raise DriverError("no app is open", where=str(self._folder), hint="open it first")
        return self._trees[self._now]

    def do(self, act: PhoneAct) -> None:
        """To the tree that the recording says."""
        found = {one.after for one in self._transitions if one.is_of(self._now, act)}
        if len(found) != 1:
            text = "" if act.secret or not act.text else f" {act.text[:40]!r}"
            shown = f"{act.kind}{text} at {self._now or 'the beginning'}"
            what = "has two outcomes in the recording" if found else "was not recorded"
            raise DriverError(
                f"{shown} {what}",
                where=act.node or str(self._folder),
                hint="record it, or keep to what was recorded: nothing is guessed",
            )
        (self._now,) = found
        self.seen.append(self._now)

    def address(self, package: str) -> str:
        """See `PhoneDevice`."""
        return app_address(package)

    def picture(self) -> bytes:
        """There are none."""
        return b""

    def requests(self) -> tuple[SeenRequest, ...]:
        """There are none."""
        return ()

    def close(self) -> None:
        """Nothing is held."""


def read_transitions(path: Path) -> tuple[Transition, ...]:
    """The transitions of a recording. Raises DataError naming file and row."""
    lines = _bytes(path).decode("utf-8", "replace").splitlines()
    found = []
    for row, line in enumerate(lines):
        if line.strip():
            try:
                found.append(_transition(json.loads(line)))
            except (ValueError, RecursionError, AdwrightError) as error:
                said = f"{error.what} {error.where}" if isinstance(error, AdwrightError) else error
                hint = 'write {"from": ..., "act": ..., "node": ..., "text": ..., "to": ...}'
                what = f"this is no transition: {said}"
                raise DataError(what, file=str(path), row=row, hint=hint) from error
    if not found:
        raise DataError("the recording is empty", file=str(path), hint="record an app first")
    return tuple(found)


def _transition(given: object) -> Transition:
    keys = set(given) if isinstance(given, dict) else set()
    if not isinstance(given, dict) or not keys >= _NEEDED or keys - _NEEDED - {"text"}:
        raise DataError(f"its keys are {', '.join(sorted(map(str, keys))) or 'none'}")
    values = dict(given)
    values["before"], values["after"] = values.pop("from"), values.pop("to")
    return from_jsonable(Transition, values)


def _tree(path: Path) -> bytes:
    data = _bytes(path)
    read_ui_tree(data, file=str(path))
    return data


def _bytes(path: Path) -> bytes:
    try:
        return read_regular(path, most=MOST_BYTES)
    except OSError as error:
        raise FileUnreadableError(
            f"the recording cannot be read: {error.strerror or error}",
            file=str(path),
            hint="a recording is a folder with transitions.jsonl and views/NAME.xml",
        ) from error
