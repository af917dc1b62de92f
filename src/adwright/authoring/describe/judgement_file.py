"""The file of a blind review: what raters say of pairs of texts, one JSON object a line.

    {"pair": "4f0c", "rater": "ann", "left": "draft", "right": "shop", "choice": "left",
     "rubric": {"factuality": {"left": 5, "right": 4}}}

left and right are the sources of the texts on that side, which may differ from rater to rater;
choice is a side or "tie"; scores are 1 to 5, and may be left out. `adwright author review` writes
it; further keys are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from adwright.authoring.describe.review import RUBRIC, PairJudgement
from adwright.core.errors import AdwrightError, FileUnreadableError

__all__ = ["read_pair_judgements"]

_TEXTS = ("pair", "rater", "left", "right", "choice")
_LONGEST = 1 << 20


def read_pair_judgements(path: str | Path) -> tuple[PairJudgement, ...]:
    """The judgements of a file, in its order. A last line without an end was not finished, and is
    passed over where it is no judgement.

    Raises FileUnreadableError that names the line: where it is no judgement, or the file cannot be
    read.
    """
    path = Path(path)
    found = []
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST), b""), start=1):
                if not line.strip():
                    continue
                try:
                    found.append(_judgement(json.loads(line)))
                except (ValueError, TypeError, LookupError, AdwrightError, RecursionError) as error:
                    if not line.endswith(b"\n") and len(line) < _LONGEST:
                        break
                    raise FileUnreadableError(
                        f"line {number} is no judgement: {_reason(error)}",
                        file=str(path),
                        value=line[:60],
                        hint="take that line out, or correct it",
                    ) from error
    except OSError as error:
        raise FileUnreadableError(
            f"the judgements cannot be read: {error.strerror}",
            file=str(path),
            hint="check the path",
        ) from error
    return tuple(found)


def _judgement(values: Mapping[str, object]) -> PairJudgement:
    texts = [values[name] for name in _TEXTS]
    if not all(isinstance(one, str) and one for one in texts):
        raise ValueError(f"{', '.join(_TEXTS)} are texts")
    rubric = values.get("rubric") or {}
    if not isinstance(rubric, Mapping):
        raise ValueError("the rubric is an object")
    pair, rater, left, right, choice = map(str, texts)
    return PairJudgement(
        pair,
        rater,
        left,
        right,
        choice,  # type: ignore[arg-type]  # checked by the class
        tuple((str(name), float(scores["left"])) for name, scores in rubric.items()),
        tuple((str(name), float(scores["right"])) for name, scores in rubric.items()),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, AdwrightError):
        return error.what
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]!r}; the rubric is {', '.join(RUBRIC)}"
    return str(error)[:80]
