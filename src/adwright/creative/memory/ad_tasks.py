"""The two tasks that a language model learns from the same ads: recall from the ad, the ad from a
brief.

    recall_prompt(record)                          # ends where two digits are to be written
    content_prompt(record), content_answer(record)
    write_rows(Path("rows.jsonl"), table)          # a mixture, as `adwright tune run` reads it

After Harini S I et al. (WACV 2025, arXiv 2309.00378): behaviour simulation answers the recall of a
verbalised ad, content simulation writes the verbalised ad from brand, title and length. A film's
ad is its scenes; an ad of text alone has only a title, which is then what is to be written. A text
is cut at whole words, from its end, so that no prompt grows with its ad.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import DataError
from adwright.creative.memory.digits import answer_of
from adwright.creative.memory.outcomes import RecallTable
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.records.verbal.verbalise import verbalised

__all__ = [
    "Example",
    "MemoryTask",
    "content_answer",
    "content_prompt",
    "few_examples",
    "recall_prompt",
    "write_rows",
]

MemoryTask = Literal["recall", "content"]

_QUESTION = (
    "How well is this ad remembered after one to three days, from 00 (by nobody) to 99 (by all)? "
    "Answer with two digits."
)
_WRITE = "Write an ad that is remembered."
#: What the brief tells, and the ad therefore does not.
_BRIEF = ("kind", "brand", "seconds")


class Example(NamedTuple):
    """An ad with its recall, 0 to 1, shown to a model before it is asked."""

    ad: AdRecord
    score: float


def recall_prompt(ad: AdRecord, *, words: int = 120, examples: Sequence[Example] = ()) -> str:
    """The question, the examples with their answers, and the ad. words: of each ad, at most."""
    shown = [f"{_ad(one.ad, words)}\nAnswer: {answer_of(one.score)}" for one in examples]
    return "\n\n".join([_QUESTION, *shown, _ad(ad, words)])


def content_prompt(ad: AdRecord) -> str:
    """The brief: brand, length, and of an ad with scenes or words its title."""
    given = [f"Brand: {ad.brand}." if ad.brand else "", _seconds(ad)]
    if ad.title and not _title_alone(ad):
        given.append(f"Title: {ad.title}")
    return " ".join([_WRITE, *filter(None, given)])


def content_answer(ad: AdRecord, *, words: int = 120) -> str:
    """The ad that the brief asks for: orientation, pace, speech, then scene by scene; of an ad of
    text alone its title. At most so many words."""
    if _title_alone(ad):
        return _cut(ad.title, words)
    return _cut(verbalised(ad, leave_out=(*_BRIEF, "title")), words)


def few_examples(table: RecallTable, count: int) -> tuple[Example, ...]:
    """Examples at even steps of the order by score, from badly to well remembered, so that they
    span the scale. Raises DataError for more than there are."""
    if count > len(table):
        raise DataError(
            f"{count} examples cannot be drawn from {len(table)} ads", hint="ask for fewer"
        )
    order = sorted(range(len(table)), key=lambda row: (table.scores[row], table.ids[row]))
    places = [round((at + 0.5) * len(table) / count - 0.5) for at in range(count)]
    chosen = [order[place] for place in places]
    return tuple(Example(table.records[row], float(table.scores[row])) for row in chosen)


def write_rows(
    path: Path,
    table: RecallTable,
    *,
    tasks: Sequence[MemoryTask] = ("recall", "content"),
    words: int = 120,
) -> int:
    """Write the mixture: a JSON object a line, with prompt, answer, task and group (the brand);
    returns how many. Ads of whom there is nothing to write have no row of that task.

    Raises DataError where no row is left.
    """
    rows: list[dict[str, Any]] = []
    for ad, score, group in zip(table.records, table.scores, table.group_names, strict=True):
        about = {"group": group}
        if "recall" in tasks:
            prompt = recall_prompt(ad, words=words)
            rows.append({"prompt": prompt, "answer": answer_of(score), "task": "recall", **about})
        answer = content_answer(ad, words=words) if "content" in tasks else ""
        # Without a brief there is nothing that the ad could follow from.
        if answer and content_prompt(ad) != _WRITE:
            rows.append(
                {"prompt": content_prompt(ad), "answer": answer, "task": "content", **about}
            )
    if not rows:
        raise DataError("there is nothing to learn from these ads", file=table.name)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write_text(path, text)
    return len(rows)


def _ad(ad: AdRecord, words: int) -> str:
    return _cut(verbalised(ad), words)


def _cut(text: str, words: int) -> str:
    return " ".join(text.split(" ")[:words])


def _seconds(ad: AdRecord) -> str:
    return "" if ad.seconds is None else f"Seconds: {ad.seconds:g}."


def _title_alone(ad: AdRecord) -> bool:
    return not (ad.scenes or ad.words or ad.speech or ad.pace or ad.orientation)
