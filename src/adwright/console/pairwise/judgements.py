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
from pathlib import Path
from typing import Any

from adwright.authoring.describe.review import PairJudgement
from adwright.authoring.writer.journal import JournalFile
from adwright.core.errors import AdwrightError, FileUnreadableError

__all__ = ["CRITERIA", "JudgementFile", "judgement_line"]

#: What each text is given 1 (poor) to 5 (excellent) for, with what it means.
CRITERIA: Mapping[str, str] = {
    "factuality": "Everything it says is true of the product",
    "fluency": "It reads like good writing",
    "persuasiveness": "It makes one want the product",
    "policy": "Nothing in it could offend or mislead",
}
_TEXTS = ("pair", "rater", "left", "right", "choice")


def judgement_line(
    judgement: PairJudgement, *, product: str = "", slot: str = "", time: str = ""
) -> bytes:
    """The line of a judgement, with its end. product, slot: that the texts are for. time: ISO 8601,
    in UTC."""
    right = dict(judgement.right_scores)
    rubric = {
        name: {"left": score, "right": right[name]}
        for name, score in judgement.left_scores
        if name in right
    }
    values = {name: getattr(judgement, name) for name in _TEXTS}
    values |= {"rubric": rubric, "product": product, "slot": slot, "time": time}
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class JudgementFile:
    """The judgements of a file, which is made where it is missing; other processes may write to it.

    Raises ResourceError where it cannot be opened, FileUnreadableError for a line that is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = JournalFile(path)
        self._latest: dict[tuple[str, str], PairJudgement] = {}
        try:
            self.refresh()
        except BaseException:
            self._file.close()
            raise

    def refresh(self) -> None:
        """Read what others have written since."""
        self._file.read(self._take)

    def add(
        self, judgement: PairJudgement, *, product: str = "", slot: str = "", time: str = ""
    ) -> None:
        """Write a judgement, see `judgement_line`; it is on the disk when this returns."""
        line = judgement_line(judgement, product=product, slot=slot, time=time)
        with self._file.writing(self._take):
            self._file.append([line], self._take, lasting=True)

    def of(self, pair: str, rater: str) -> PairJudgement | None:
        """What a rater said last of a pair."""
        return self._latest.get((pair, rater))

    def close(self) -> None:
        """Close the file; any number of times."""
        self._file.close()

    def _take(self, offset: int, line: bytes) -> None:
        if not line.strip():
            return
        try:
            one = _judgement(json.loads(line))
        except (ValueError, TypeError, LookupError, AttributeError, AdwrightError) as error:
            raise FileUnreadableError(
                f"the line at byte {offset:,} is no judgement",
                file=str(self._path),
                value=line[:60],
                hint="was it changed by hand? Take that line out, or name another file",
            ) from error
        self._latest[one.pair, one.rater] = one


def _judgement(values: Mapping[str, Any]) -> PairJudgement:
    pair, rater, left, right, choice = (str(values[name]) for name in _TEXTS)
    rubric = values.get("rubric", {}).items()
    return PairJudgement(
        pair,
        rater,
        left,
        right,
        choice,  # type: ignore[arg-type]  # checked by the class
        tuple((str(name), float(scores["left"])) for name, scores in rubric),
        tuple((str(name), float(scores["right"])) for name, scores in rubric),
    )
