"""What raters say of pairs, in a file that only grows, one JSON object a line.

    {"pair":"4f0c...","rater":"ann","left":"draft","right":"shop","choice":"left",
     "rubric":{"factuality":{"left":5,"right":4}},"product":"p1","slot":"headline","time":"..."}

left and right are the sources of the texts on that side, which may differ from rater to rater;
choice is a side or "tie"; scores are 1 to 5. The rubric, and what follows it, may be left out;
further keys are passed over. Where a rater has judged a pair twice, the later line holds.
`adwright author review` writes it, and `adwright author evaluate` reads it: who wins, and whether
raters agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adwright.authoring.describe.review import PairJudgement
from adwright.core.errors import FileUnreadableError
from adwright.core.journal import Journal, line_of, read_rows

_TEXTS = ("pair", "rater", "left", "right", "choice")


def read_pair_judgements(path: str | Path) -> tuple[PairJudgement, ...]:
    """The judgements of a file, in its order.

    Raises FileUnreadableError that names the line: where it is no judgement, or the file cannot be
    read.
    """
    if not Path(path).exists():
        raise FileUnreadableError(
            "the judgements cannot be read: there is no such file",
            file=str(path),
            hint="check the path",
        )
    return tuple(read_rows(path, _judgement, hint="take that line out, or correct it"))


class JudgementFile:
    """The judgements of a file, which is made where it is missing; other processes may write to it.

    Raises ResourceError where it cannot be opened, FileUnreadableError for a line that is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = Journal(path, hint="was it changed by hand? Take that line out")
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
        """Write a judgement; it is on the disk when this returns. product, slot: that the texts are
        for. time: ISO 8601, in UTC."""
        right = dict(judgement.right_scores)
        row: dict[str, Any] = {name: getattr(judgement, name) for name in _TEXTS}
        row["rubric"] = {
            name: {"left": score, "right": right[name]}
            for name, score in judgement.left_scores
            if name in right
        }
        row |= {"product": product, "slot": slot, "time": time}
        with self._file.writing(self._take):
            self._file.append([line_of(row)], self._take, flush="now")

    def of(self, pair: str, rater: str) -> PairJudgement | None:
        """What a rater said last of a pair."""
        return self._latest.get((pair, rater))

    def close(self) -> None:
        """Close the file; any number of times."""
        self._file.close()

    def _take(self, offset: int, line: bytes) -> None:
        one = _judgement(json.loads(line))
        self._latest[one.pair, one.rater] = one


def _judgement(values: Mapping[str, Any]) -> PairJudgement:
    texts = [values[name] for name in _TEXTS]
    if not all(isinstance(one, str) and one for one in texts):
        raise ValueError(f"{', '.join(_TEXTS)} are texts")
    rubric = values.get("rubric") or {}
    if not isinstance(rubric, Mapping):
        raise ValueError("the rubric is an object")
    scores_of = [
        tuple((str(name), float(scores[side])) for name, scores in rubric.items())
        for side in ("left", "right")
    ]
    pair, rater, left, right, choice = texts
    return PairJudgement(pair, rater, left, right, choice, *scores_of)
