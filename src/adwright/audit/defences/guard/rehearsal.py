"""Made-up attacks, so that a guard can be fitted without a real one.

    attacked = rehearse(texts, np.random.default_rng(0), kinds=("gibberish", "fluent"))

Gibberish is what searches over tokens produce: pieces of words, code and marks without order, in
several mixtures. Fluent text is what a person or a model would write: orders, claims, reviews,
comparisons, floods of keywords, out of rehearsed.toml. Each is put behind, before or into an honest
text, or takes its place. They serve to fit a guard and nothing else: no ranker is asked, and no
text is searched for. The families and their mixture are our choice.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

import numpy as np

from adwright.audit.defences.guard.features import GuardText
from adwright.core.errors import ConfigError, DataError

#: What is made up.
RehearsalKind = Literal["gibberish", "fluent"]
#: Fluent text is harder to find, and weighs twice as much (our choice).
USUAL: tuple[RehearsalKind, ...] = ("gibberish", "fluent", "fluent")

_PIECES = (
    "ing ed er tion ment ly re un pre con sub inter ability ous ive ist ance ness ogram ext"
    " urn ever ship able ward ize ator ified ology ript omin eft ould ound ight ause tain ject"
    " form port"
)
_CODE = (
    '{ } ( ) [ ] < > / | \\ ~ ^ ` = == != => -> :: ;; || && ++ -- /* */ </ /> \\n \\" ]( )] }{ ${'
    " #{ @ _ __ ** ## %% !! ?? return function def class import null void int String printf"
    " console.log href= src= &nbsp; .format .getElementById useState $_POST \\begin{ \\item"
)
_PUNCTUATION = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'


def rehearse(
    texts: Sequence[GuardText],
    rng: np.random.Generator,
    *,
    kinds: Sequence[RehearsalKind] = USUAL,
) -> list[GuardText]:
    """Each text with an attack in it, the kinds in turn. Raises ConfigError for another kind, or
    none."""
    if not kinds or not set(kinds) <= set(get_args(RehearsalKind)):
        raise ConfigError(
            "there is no such kind of attack",
            where=f"kinds {tuple(kinds)!r}",
            hint=f"use some of {', '.join(get_args(RehearsalKind))}",
        )
    words = sorted({word for one in texts for word in one.text.split()})
    if not words:
        raise DataError("there is no text to attack", hint="give ordinary texts")
    made = []
    for row, one in enumerate(texts):
        if kinds[row % len(kinds)] == "gibberish":
            attack = gibberish(words, int(rng.integers(8, 31)), rng)
        else:
            attack = _fluent(one, rng)
        made.append(replace(one, text=inserted(one.text, attack, rng)))
    return made


def gibberish(words: Sequence[str], count: int, rng: np.random.Generator) -> str:
    """`count` pieces without order. words: of ordinary texts, which are in some mixtures."""
    code, pieces = _CODE.split(), _PIECES.split()
    share = rng.dirichlet((1.0, 1.0, 0.6, 0.3))
    made: list[str] = []
    for kind in rng.choice(4, count, p=share).tolist():
        match kind:
            case 0:
                one = words[int(rng.integers(len(words)))]
            case 1:
                one = pieces[int(rng.integers(len(pieces)))]
            case 2:
                one = code[int(rng.integers(len(code)))]
            case _:
                size = int(rng.integers(1, 4))
                one = "".join(_PUNCTUATION[at] for at in rng.integers(0, len(_PUNCTUATION), size))
        change = rng.random()
        one = one.capitalize() if change < 0.15 else one.upper() if change < 0.22 else one
        # A token often begins without a blank.
        made.append(one if rng.random() < 0.35 else f" {one}")
    return "".join(made).strip()


def inserted(text: str, attack: str, rng: np.random.Generator) -> str:
    """The attack behind the text (most often), before it, inside, or in its place."""
    place = rng.random()
    if place < 0.6 or not text:
        return f"{text} {attack}".strip()
    if place < 0.75:
        return f"{attack} {text}"
    if place < 0.9:
        return attack
    words = text.split()
    cut = int(rng.integers(0, len(words) + 1))
    return " ".join([*words[:cut], attack, *words[cut:]])


@cache
def fluent_families() -> dict[str, tuple[str, ...]]:
    """Sentences with {name} and {kind}, by family; read once."""
    text = files(__package__).joinpath("rehearsed.toml").read_text("utf-8")
    return {name: tuple(some) for name, some in tomllib.loads(text)["fluent"].items()}


def _fluent(one: GuardText, rng: np.random.Generator) -> str:
    """One to three sentences, of a family or of several."""
    families = list(fluent_families().values())
    family = families[int(rng.integers(len(families)))]
    said = []
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.3:
            family = families[int(rng.integers(len(families)))]
        said.append(family[int(rng.integers(len(family)))])
    words = [word for word in (one.name or one.text).split() if word.isalpha()] or ["product"]
    kind = words[int(rng.integers(len(words)))]
    text = " ".join(dict.fromkeys(said)).replace("{name}", one.name or kind).replace("{kind}", kind)
    # Attackers take on the format of their merchant.
    return text.lower() if one.text == one.text.lower() and rng.random() < 0.6 else text
