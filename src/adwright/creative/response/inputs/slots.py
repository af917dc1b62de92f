"""The texts of an ad by slot, and the numbers, levels and words of its record.

    texts_of(record)["title"]             # "They're Being Called 'Walmart's Worst Nightmare.'"
    form_of("Is it 5?")                   # [18] numbers of how it is written
    numbers_of(record), categories_of(record), bags_of(record)

Only fields of the record are read, so nothing that says how an ad did can enter. What is empty is
missing, which is a value of its own: NaN for a number, "" for a level, no entry in a bag.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable

from adwright.creative.records.verbal.record import AdRecord, Scene

__all__ = [
    "BAGS",
    "CATEGORIES",
    "FORM_WIDTH",
    "NUMBERS",
    "SLOTS",
    "bags_of",
    "categories_of",
    "form_of",
    "numbers_of",
    "texts_of",
]

#: title; words: the first paragraph of its text; more: the others; shown: text on the screen;
#: speech; scenes: what their captions say.
SLOTS = ("title", "words", "more", "shown", "speech", "scenes")
NUMBERS = ("seconds", "scene count", "scenes a minute", "faces", "share of scenes with faces")
CATEGORIES = ("kind", "brand", "orientation", "pace", "motion")
BAGS = ("foreground", "background", "tone", "style", "complexity", "emotions", "tags")
#: Numbers of `form_of`.
FORM_WIDTH = 20

_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
_SPACE = re.compile(r"\s+")


def texts_of(record: AdRecord) -> dict[str, str]:
    """The text of each of `SLOTS`, without markup, in single spaces; "" where there is none."""
    paragraphs = [part for part in record.words.split("\n") if part.strip()]
    shown = [line for scene in record.scenes for line in scene.words]
    found = {
        "title": record.title,
        "words": paragraphs[0] if paragraphs else "",
        "more": " ".join(paragraphs[1:]),
        "shown": " ".join(shown),
        "speech": record.speech,
        "scenes": " ".join(scene.caption for scene in record.scenes),
    }
    return {name: _plain(text) for name, text in found.items()}


def form_of(text: str) -> list[float]:
    """How a text is written, `FORM_WIDTH` numbers: its length in letters and in words (log, and
    their squares), letters a word, full stops, commas, whether it has a question mark, an
    exclamation mark, double quotes, an apostrophe, a digit, an ellipsis, a colon, a bracket, a
    hyphen, begins with a digit; share of capitals, words in capitals, and whether it is empty."""
    words = text.split()
    letters, count = math.log1p(len(text)), math.log1p(len(words))
    return [
        letters,
        count,
        letters**2,
        count**2,
        len(text) / (len(words) + 1),
        float(text.count(".")),
        float(text.count(",")),
        float("?" in text),
        float("!" in text),
        float(any(sign in text for sign in '"“”')),
        float(any(sign in text for sign in "'’")),
        float(any(sign.isdigit() for sign in text)),
        float("..." in text or "…" in text),
        float(":" in text),
        float("(" in text),
        float("-" in text),
        float(text[:1].isdigit()),
        sum(sign.isupper() for sign in text) / (len(text) + 1),
        float(sum(len(word) > 2 and word.isupper() for word in words)),
        float(not text),
    ]


def numbers_of(record: AdRecord) -> list[float]:
    """`NUMBERS` of a record, NaN where nobody counted."""
    scenes, nan = record.scenes, math.nan
    faces = [scene.faces for scene in scenes if scene.faces is not None]
    minutes = (record.seconds or 0.0) / 60
    return [
        nan if record.seconds is None else math.log1p(record.seconds),
        math.log1p(len(scenes)) if scenes else nan,
        len(scenes) / minutes if scenes and minutes > 0 else nan,
        sum(faces) / len(faces) if faces else nan,
        sum(one > 0 for one in faces) / len(faces) if faces else nan,
    ]


def categories_of(record: AdRecord) -> list[str]:
    """`CATEGORIES` of a record, "" where there is none."""
    brand = _plain(record.brand).casefold()
    return [record.kind, brand, record.orientation, record.pace, record.motion]


def bags_of(record: AdRecord) -> list[tuple[str, ...]]:
    """`BAGS` of a record: the values over all scenes, as often as they occur."""
    each: tuple[Callable[[Scene], tuple[str, ...]], ...] = (
        lambda scene: scene.foreground,
        lambda scene: scene.background,
        lambda scene: (scene.tone,),
        lambda scene: (scene.style,),
        lambda scene: (scene.complexity,),
        lambda scene: scene.emotions,
        lambda scene: scene.tags,
    )
    return [
        tuple(
            plain
            for scene in record.scenes
            for value in read(scene)
            if (plain := _plain(value).casefold())
        )
        for read in each
    ]


def _plain(text: str) -> str:
    """Without markup, entities and repeated spaces."""
    return _SPACE.sub(" ", html.unescape(_TAG.sub(" ", text))).strip()
