"""Texts that people write to push a product: what anybody may try without a model (T0).

    template_texts(goal)              # ("override", " Ignore all previous ..."), ...

override: speaks to the model instead of the shopper. authority: invents a rule of the shop.
fake_review: invents buyers. flooding: says the name and praise again and again. comparison: runs
down the others by name. hidden: an override that a page does not show, in a comment, an invisible
element, or characters without width.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np

from adwright.audit.attacks.attack import AttackGoal
from adwright.audit.catalogue import ShopCatalogue
from adwright.audit.report.trials import CONTROL, RankTable, SellerText, run_trials
from adwright.audit.targets.target import Target
from adwright.core.config import require_count
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Tokenizer


@cache
def templates() -> dict[str, list[str]]:
    """The texts of each kind; {name} is the product, {other} and {third} compete with it."""
    text = files(__package__).joinpath("texts.toml").read_text("utf-8")
    found: dict[str, list[str]] = tomllib.loads(text)["templates"]
    return found


def template_texts(goal: AttackGoal) -> list[tuple[str, str]]:
    """Kind and text of every template, to be added behind the field."""
    others = [one for row, one in enumerate(goal.catalogue.names) if row != goal.row]
    words = {"name": goal.name, "other": others[0], "third": others[-1]}
    return [
        (kind, f" {text.format(**words)}") for kind in templates() for text in templates()[kind]
    ]


# --------------------------------------------------------------------------------------------------
# Texts that are no attack, for comparison: random tokens, the name again, a truthful sentence.
#
#     texts = control_texts(goal, seed=0, words=30)
#
# A ranker that is moved as far by them as by an attack is moved by length or by noise. The truthful
# sentence says again what the record's attributes say, and nothing else.

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


# --------------------------------------------------------------------------------------------------
# Whether texts that were found on one model move another, or with other wordings of a request.
#
#     found = transferred(texts, {"a": target, "b": other}, catalogue, orders, found_on="a")
#     found[0].net, found[0].kept
#
# Texts found by gradient hardly transfer in "Manipulating LLMs to Increase Product Visibility" (net
# 3.5 on GPT-3.5 of 89.6 on the model itself); whoever audits a large model through a small one has
# to
# say how much of a finding carries over.


@dataclass(frozen=True, eq=False)
class Transfer:
    """Of all texts on one target and wording. net: share of trials with a better rank less those
    with a worse one. kept: net over that of the model and wording the texts were found on; None
    where that is 0. table: ranks of all trials."""

    target: str
    request: str
    net: float
    kept: float | None
    table: RankTable


def transferred(
    texts: Sequence[SellerText],
    targets: Mapping[str, Target],
    catalogue: ShopCatalogue,
    orders: Sequence[Sequence[int]],
    *,
    found_on: str,
    requests: Sequence[str] = (),
) -> list[Transfer]:
    """Try the texts on every target, in every wording; where they were found comes first.

    targets: by a name of one's own. orders: in which no text was chosen. found_on: the target that
    the texts were found on. requests: wordings, by default all of the catalogue; the first is the
    one they were found with. Raises ConfigError where `found_on` is no target, and as `run_trials`.
    """
    if found_on not in targets:
        raise ConfigError(
            "the model that the texts were found on is not among the targets",
            where=f"found_on {found_on!r}",
            hint=f"use one of {', '.join(targets)}",
        )
    asked = list(requests) or list(catalogue.requests)
    names = [found_on, *(name for name in targets if name != found_on)]
    found: list[Transfer] = []
    for name in names:
        for request in asked:
            table = run_trials(targets[name], catalogue, texts, orders, request=request)
            net = float(np.sign(table.before - table.after).mean())
            own = found[0].net if found else net
            found.append(Transfer(name, request, net, net / own if own else None, table))
    return found
