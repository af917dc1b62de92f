"""What an answer is tested on: its text, the products that it ranks, and the rule that reads it."""

from __future__ import annotations

from typing import NamedTuple

from adwright.audit.targets.chat import AnswerForm

#: Ten machines; one whose name another continues, and one whose name is a part of many.
NAMES = (
    *("FrenchPress Classic", "SingleServe Wonder", "QuickBrew Express", "BrewMaster Classic"),
    *("ColdBrew Master", "Grind&Brew Plus", "EspressoMaster 2000", "LatteArt Pro"),
    *("Cappuccino King", "CafePro Elite", "LatteArt Pro Max", "Brew"),
)
#: A letter for each, so that what is expected is a short word.
LETTERS = "FSQBCGELKPMW"


class Case(NamedTuple):
    """expected: letters of the products, the best first. how: the rule."""

    answer: str
    expected: str
    how: AnswerForm
    invented: int = 0


def rows(letters: str) -> tuple[int, ...]:
    """The rows of the names that these letters stand for."""
    return tuple(LETTERS.index(one) for one in letters)
