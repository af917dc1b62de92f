"""Numbers of a text, and facts of an ad, that may tell how well it is remembered.

    text_numbers("Taste the rainbow.")              # float64 [19]: length, words, marks ...
    surprisal_numbers(log_probabilities, tokens)    # float64 [13]: how expected its tokens are
    ad_facts(record)                                # float64 [20]: seconds, scenes, pace, faces ...

Each is a plain count, share or mean; which of them matter is left to a ridge. An unknown pace is a
medium one, and what else is unknown counts as none (our choice).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adwright.creative.records.verbal.record import AdRecord

__all__ = ["FACTS", "SURPRISALS", "TEXT_NUMBERS", "ad_facts", "surprisal_numbers", "text_numbers"]

Floats = NDArray[np.float64]

_WORD = re.compile(r"[\w']+")
#: A word of so few letters is seldom one that carries meaning.
_SHORT = 3

#: Names of `text_numbers`, in their order.
TEXT_NUMBERS = (
    *("characters", "log_characters", "words", "log_words", "mean_word", "longest_word"),
    *("capitals", "capitalised_words", "commas", "stops", "exclamations", "questions", "digits"),
    *("distinct_words", "quotes", "marks", "ends_as_sentence", "short_words", "apostrophe"),
)
#: Names of `surprisal_numbers`, in their order.
SURPRISALS = (
    *("mean", "sum", "least", "most", "spread", "first", "last", "mean_but_first", "second_half"),
    *("log_tokens", "mean_rarity", "most_rarity", "spread_rarity"),
)
#: Names of `ad_facts`, in their order.
FACTS = (
    *("seconds", "log_seconds", "scenes", "log_scenes", "scenes_a_second", "pace", "motion"),
    *("landscape", "low_complexity", "high_complexity", "faces", "faced_scenes", "warm", "cool"),
    *("spoken_words", "spoken_words_a_second", "shown_words_a_scene", "emotions_a_scene"),
    *("brand_in_title", "brand_shown"),
)
_LEVELS = {"low": 0.0, "": 1.0, "medium": 1.0, "high": 2.0}


def text_numbers(text: str) -> Floats:
    """float64 [19], those of TEXT_NUMBERS; of an empty text zeros."""
    words = _WORD.findall(text)
    if not text.strip():
        return np.zeros(len(TEXT_NUMBERS))
    size, many = len(text), max(1, len(words))
    lengths = [len(word) for word in words] or [0]
    marks = sum(not one.isalnum() and not one.isspace() for one in text)
    return np.array(
        [
            size,
            np.log(size),
            len(words),
            np.log(many),
            float(np.mean(lengths)),
            max(lengths),
            sum(one.isupper() for one in text) / size,
            sum(word[0].isupper() for word in words) / many,
            text.count(","),
            text.count("."),
            text.count("!"),
            text.count("?"),
            sum(one.isdigit() for one in text),
            len({word.lower() for word in words}) / many,
            text.count('"'),
            marks / size,
            float(text.rstrip()[-1] in ".!?"),
            sum(length <= _SHORT for length in lengths) / many,
            float("'" in text or "’" in text),
        ],
        np.float64,
    )


def surprisal_numbers(log_probabilities: Floats, tokens: Sequence[int]) -> Floats:
    """float64 [13], those of SURPRISALS, of a text of T tokens.

    log_probabilities: float64 [T], in nats. tokens: their ids; a tokenizer of merged bytes numbers
    its merges from the most frequent on, so log(1 + id) stands for how rare a token is, without a
    list of word frequencies.
    """
    logs, rarity = np.asarray(log_probabilities, float), np.log1p(np.asarray(tokens, float))
    return np.array(
        [
            logs.mean(),
            logs.sum(),
            logs.min(),
            logs.max(),
            logs.std(),
            logs[0],
            logs[-1],
            logs[1:].mean() if len(logs) > 1 else logs[0],
            logs[len(logs) // 2 :].mean(),
            np.log(len(logs)),
            rarity.mean(),
            rarity.max(),
            rarity.std(),
        ]
    )


def ad_facts(record: AdRecord) -> Floats:
    """float64 [20], those of FACTS."""
    scenes = record.scenes
    many, seconds = max(1, len(scenes)), record.seconds or 0.0
    counted = [scene.faces for scene in scenes if scene.faces is not None]
    spoken, brand = len(record.speech.split()), record.brand.strip().casefold()
    shown = " ".join(line for scene in scenes for line in scene.words).casefold()
    return np.array(
        [
            seconds,
            np.log1p(seconds),
            len(scenes),
            np.log1p(len(scenes)),
            len(scenes) / seconds if seconds else 0.0,
            _LEVELS[record.pace],
            _LEVELS[record.motion],
            float(record.orientation == "landscape"),
            sum(scene.complexity == "low" for scene in scenes) / many,
            sum(scene.complexity == "high" for scene in scenes) / many,
            sum(counted) / many,
            sum(one > 0 for one in counted) / many,
            sum(scene.tone == "warm" for scene in scenes) / many,
            sum(scene.tone == "cool" for scene in scenes) / many,
            spoken,
            spoken / seconds if seconds else 0.0,
            len(shown.split()) / many,
            sum(len(scene.emotions) for scene in scenes) / many,
            float(bool(brand) and brand in record.title.casefold()),
            float(bool(brand) and brand in shown),
        ],
        np.float64,
    )
