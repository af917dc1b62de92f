"""What raters say of pairs, in a file that only grows, one JSON object a line.

    {"pair":"4f0c...","rater":"ann","left":"draft","right":"shop","choice":"left",
     "rubric":{"factuality":{"left":5,"right":4}},"product":"p1","slot":"headline","time":"..."}

left and right are the sources of the texts on that side, which differ from rater to rater; choice
is a side or "tie". Where a rater has judged a pair twice, the later line holds. It is what
`adwright author describe` reads: who wins, and whether raters agree (Krippendorff's alpha).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from adwright.authoring.writer.journal import JournalFile
from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, FileUnreadableError

__all__ = ["CRITERIA", "Judgement", "JudgementFile", "PairChoice"]

PairChoice = Literal["left", "right", "tie"]
#: What each text is given 1 (poor) to 5 (excellent) for, with what it means.
CRITERIA: Mapping[str, str] = {
    "factuality": "Everything it says is true of the product",
    "fluency": "It reads like good writing",
    "persuasiveness": "It makes one want the product",
    "policy": "Nothing in it could offend or mislead",
}
_SCORES = range(1, 6)


@dataclass(frozen=True)
class Judgement:
    """What one rater says of one pair. rubric: of a criterion, the scores of the left and of the
    right text, 1 to 5; criteria may be left out. time: ISO 8601, in UTC.

    Raises ConfigError for a choice, criterion or score that there is none of, or without a rater.
    """

    pair: str
    rater: str
    left: str
    right: str
    choice: PairChoice
    rubric: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    product: str = ""
    slot: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        check_literals(self)
        if not self.rater:
            raise ConfigError("a judgement needs the name of who judges", where="rater")
        for name, scores in self.rubric.items():
            if name not in CRITERIA or any(score not in _SCORES for score in scores):
                raise ConfigError(
                    "a score is 1 to 5, of one of the criteria",
                    where=f"{name} {scores}",
                    hint=f"criteria are {', '.join(CRITERIA)}",
                )

    def line(self) -> bytes:
        """The line of the file, with its end."""
        rubric = {
            name: {"left": left, "right": right} for name, (left, right) in self.rubric.items()
        }
        values = {
            "pair": self.pair,
            "rater": self.rater,
            "left": self.left,
            "right": self.right,
            "choice": self.choice,
            "rubric": rubric,
            "product": self.product,
            "slot": self.slot,
            "time": self.time,
        }
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class JudgementFile:
    """The judgements of a file, which is made where it is missing; other processes may write to it.

    Raises ResourceError where it cannot be opened, FileUnreadableError for a line that is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = JournalFile(path)
        self._latest: dict[tuple[str, str], Judgement] = {}
        try:
            self.refresh()
        except BaseException:
            self._file.close()
            raise

    def refresh(self) -> None:
        """Read what others have written since."""
        self._file.read(self._take)

    def add(self, judgement: Judgement) -> None:
        """Write a judgement; it is on the disk when this returns."""
        with self._file.writing(self._take):
            self._file.append([judgement.line()], self._take, lasting=True)

    def of(self, pair: str, rater: str) -> Judgement | None:
        """What a rater said last of a pair."""
        return self._latest.get((pair, rater))

    def raters(self) -> list[str]:
        """Who has judged something, in order of the alphabet."""
        return sorted({rater for _, rater in self._latest})

    def close(self) -> None:
        """Close the file; any number of times."""
        self._file.close()

    def _take(self, offset: int, line: bytes) -> None:
        if not line.strip():
            return
        try:
            values = json.loads(line)
            one = _judgement(values)
        except (ValueError, TypeError, LookupError, AttributeError, ConfigError) as error:
            raise FileUnreadableError(
                f"the line at byte {offset:,} is no judgement",
                file=str(self._path),
                value=line[:60],
                hint="was it changed by hand? Take that line out, or name another file",
            ) from error
        self._latest[one.pair, one.rater] = one


def _judgement(values: Mapping[str, Any]) -> Judgement:
    rubric = {
        str(name): (int(scores["left"]), int(scores["right"]))
        for name, scores in values.get("rubric", {}).items()
    }
    if values["choice"] not in get_args(PairChoice):
        raise ValueError("no choice")
    texts = ("pair", "rater", "left", "right")
    pair, rater, left, right = (str(values[name]) for name in texts)
    return Judgement(
        pair,
        rater,
        left,
        right,
        values["choice"],
        rubric,
        values.get("product", ""),
        values.get("slot", ""),
        values.get("time", ""),
    )
