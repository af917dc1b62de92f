"""Texts that are no attack, for comparison: random tokens, the name again, a truthful sentence.

    texts = control_texts(goal, seed=0, words=30)

A ranker that is moved as far by them as by an attack is moved by length or by noise. The truthful
sentence says again what the record's attributes say, and nothing else.
"""

from __future__ import annotations

import string
from typing import Literal

import numpy as np

from adwright.audit.attacks.goal import AttackGoal
from adwright.audit.report.texts import CONTROL, SellerText
from adwright.core.config import require_count
from adwright.lm.engine.generation import Tokenizer

ControlKind = Literal["random", "name", "truthful"]
_LETTERS = np.array(list(string.ascii_lowercase))


def control_texts(
    goal: AttackGoal,
    *,
    seed: int = 0,
    words: int = 20,
    tokens: Tokenizer | None = None,
    vocabulary: int = 0,
) -> list[SellerText]:
    """The three controls of a product, as an audit tries them.

    words: random tokens in the first. tokens, vocabulary: of the model, from which they are drawn;
    without, they are words of random letters.
    """
    made: dict[ControlKind, str] = {
        "random": random_text(
            np.random.default_rng([seed, goal.row]), words, tokens=tokens, vocabulary=vocabulary
        ),
        "name": f" {goal.name}",
        "truthful": truthful_text(goal),
    }
    return [
        SellerText(goal.name, goal.field, goal.own_text + extra, f"{CONTROL} {kind}", str(seed))
        for kind, extra in made.items()
    ]


def random_text(
    rng: np.random.Generator,
    words: int,
    *,
    tokens: Tokenizer | None = None,
    vocabulary: int = 0,
) -> str:
    """So many random tokens of plain ASCII, or words of two to eight random letters."""
    require_count("words", words)
    if tokens is None:
        parts = ["".join(rng.choice(_LETTERS, rng.integers(2, 9))) for _ in range(words)]
        return "".join(f" {one}" for one in parts)
    found: list[str] = []
    while len(found) < words:
        text = tokens.decode([int(rng.integers(vocabulary))])
        if text.strip() and text.isascii() and text.isprintable() and not set(text) & set('"\\'):
            found.append(text)
    joined = "".join(found)
    return joined if joined.startswith(" ") else f" {joined}"


def truthful_text(goal: AttackGoal) -> str:
    """A sentence of the record's own attributes; of its name where it has none."""
    said = [
        f"{name} {value}" for name, value in goal.listing.attributes.items() if value is not None
    ]
    return f" {goal.name}: {', '.join(said[:3])}." if said else f" This is {goal.name}."
