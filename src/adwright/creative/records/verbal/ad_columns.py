"""Which column of a user's table of ads is which: as he says, else by its usual name.

    AdColumns(title="Slogan", image="")     # the title is told, there is no image, the rest guessed

What is guessed is said in `AdTable.said`, never silent. Only columns of text are taken, so that no
outcome (clicks, recalled, a rate) becomes a part of the ad.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from adwright.core.errors import ConfigError, SchemaError
from adwright.data.table_door import TableSpec, bare_name, find_column, listed, table_specs

__all__ = ["AdColumns", "name_ads", "usual_parts"]

#: Texts beside the title, in the order of the table.
_WORDS = re.compile(
    r"(link|ad|primary|long)?(description|body|text|copy|message)\d*|lede|excerpt|subtitle|subhead"
    r"|subheadline|caption|calltoaction(text)?|cta|headline([2-9]|1\d)|longheadline"
)
_ONE = ("id", "title", "brand", "seconds", "image", "video", "text")


@dataclass(frozen=True)
class AdColumns:
    """Which column holds which part of an ad. None: guess by usual names. Empty: there is none.

    id: of the ad. title: its headline. words: its other texts, joined in this order. brand: whose
    it is. seconds: its length. image, video: paths of files. text: the ad in words as
    `verbalised` writes them.

    Raises ConfigError where one column is two parts.
    """

    id: str | None = None
    title: str | None = None
    words: tuple[str, ...] | None = None
    brand: str | None = None
    seconds: str | None = None
    image: str | None = None
    video: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or any(not isinstance(one, str) for one in self.told):
            raise ConfigError(
                "a column is named by a text, and the words by a tuple of texts",
                where="AdColumns",
                hint='write them as AdColumns(title="headline", words=("body",))',
            )
        for name in self.told:
            if self.told.count(name) > 1:
                raise ConfigError(
                    f"the column {name!r} is two parts of the ad",
                    where="AdColumns",
                    hint="name it once",
                )

    @property
    def told(self) -> tuple[str, ...]:
        """All columns that are named, in the order of the fields."""
        one = [getattr(self, each.name) for each in fields(self) if each.name != "words"]
        return tuple(name for name in (*one[:2], *(self.words or ()), *one[2:]) if name)


def usual_parts(names: Sequence[str]) -> list[str]:
    """Those of `names` that could be a part of an ad by their names."""
    spec = _spec()
    known = {name for part in _ONE for name in spec.guesses(part, names)}
    return [name for name in names if name in known or _is_words(name)]


def name_ads(
    names: Sequence[str], columns: AdColumns, fit: dict[str, frozenset[str]], *, file: str
) -> tuple[AdColumns, tuple[str, ...]]:
    """The columns with nothing left open, and what was guessed, a sentence each.

    names: of the table. fit: of each guessed part, the columns whose values can be such a part.
    Raises SchemaError for a column that is told and not there, and where no part of an ad is
    found.
    """
    spec, words = _spec(), columns.words
    if words is not None:
        words = tuple(find_column(name, names, "words", file=file) for name in words)
    unfit = set[str]()

    def fits(part: str, name: str) -> bool:
        if part != "id":
            unfit.update({name} - fit[part])
        return name in fit[part]

    told = {part: one for part in _ONE if (one := getattr(columns, part)) is not None}
    parts, found = spec.name(names, told, fits=fits, taken=words or (), file=file)
    said, taken = list(found), {*parts.values()}
    if words is None:
        free = [name for name in names if name not in taken and name in fit["words"]]
        words = tuple(name for name in free if _is_words(name))
        if words:
            said.append(f"{', '.join(words)} {'are' if words[1:] else 'is'} taken as words")
    made = AdColumns(words=words, **{part: parts.get(part, "") for part in _ONE})
    apart = [name for name in names if name in unfit and name not in made.told]
    said += [f"{name} is left apart: no part of an ad has such values" for name in apart]
    if not set(made.told) - {made.id, made.seconds}:
        raise SchemaError(
            "no column is known to hold a part of an ad: a title, words, a brand, an image, a "
            "video or a text",
            file=file,
            hint=f"say which one does, --columns title=THEIRS; the table has {listed(names)}",
        )
    return made, tuple(said)


def _spec() -> TableSpec:
    return table_specs("ads")["ad"]


def _is_words(name: str) -> bool:
    return _WORDS.fullmatch(bare_name(name)) is not None
