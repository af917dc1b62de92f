"""Which column of a user's table of ads is which: as he says, else by its usual name.

    AdColumns(title="Slogan", image="")     # the title is told, there is no image, the rest guessed

What is guessed is said in `AdTable.said`, never silent. Only columns of text are taken, so that no
outcome (clicks, recalled, a rate) becomes a part of the ad.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from adwright.core.errors import ConfigError, SchemaError

__all__ = ["AdColumns", "name_ads", "usual_columns"]

#: Usual names in lower case, letters and digits alone; an earlier one wins where several are there.
_USUAL: dict[str, tuple[str, ...]] = {
    "id": ("id", "adid", "creativeid", "recordid", "key"),
    "title": (
        *("headline", "title", "headline1", "adtitle", "adheadline", "slogan", "tagline"),
        *("sentence", "name"),
    ),
    "brand": (
        *("brand", "brandname", "advertiser", "advertisername", "businessname", "company"),
        "pagename",
    ),
    "seconds": ("seconds", "duration", "durationseconds", "durations", "lengthseconds"),
    "image": (
        *("image", "imagepath", "imagefile", "img", "picture", "thumbnail", "imageurl"),
        *("media", "mediapath", "file", "filename", "path"),
    ),
    "video": ("video", "videopath", "videofile", "film", "videourl"),
    "text": ("verbalised", "verbalized", "verbalisation", "verbalization", "text"),
}
#: Texts beside the title, in the order of the table.
_WORDS = re.compile(
    r"(link|ad|primary|long)?(description|body|text|copy|message)\d*|lede|excerpt|subtitle|subhead"
    r"|subheadline|caption|calltoaction(text)?|cta|headline([2-9]|1\d)|longheadline"
)
_SHOWN = 20


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


def usual_columns(names: Sequence[str]) -> list[str]:
    """Those of `names` that could be a part of an ad by their names."""
    known = {name for usual in _USUAL.values() for name in usual}
    return [name for name in names if _bare(name) in known or _WORDS.fullmatch(_bare(name))]


def name_ads(
    names: Sequence[str], columns: AdColumns, fit: dict[str, frozenset[str]], *, file: str
) -> tuple[AdColumns, tuple[str, ...]]:
    """The columns with nothing left open, and what was guessed, a sentence each.

    names: of the table. fit: of each guessed part, the columns whose values can be such a part.
    Raises SchemaError for a column that is told and not there, and where no part of an ad is
    found.
    """
    parts, words = _told(names, columns, file)
    taken = {*parts.values(), *(words or ())}
    said, unfit = [], set[str]()
    for part, usual in _USUAL.items():
        if parts[part] is not None:
            continue
        bare = {_bare(name): name for name in reversed(names) if name not in taken}
        known = [bare[name] for name in usual if name in bare]
        guesses = [name for name in known if name in fit[part]]
        unfit |= set(known) - set(guesses)
        parts[part] = guesses[0] if guesses else ""
        taken |= set(guesses[:1])
        if guesses[1:] or (guesses and _bare(guesses[0]) != part):
            others = f" (and not {', '.join(guesses[1:])})" if guesses[1:] else ""
            said.append(f"column {guesses[0]} is taken as the {part}{others}")
    if words is None:
        free = [name for name in names if name not in taken and name in fit["words"]]
        words = tuple(name for name in free if _WORDS.fullmatch(_bare(name)))
        if words:
            is_are = "columns {} are" if words[1:] else "column {} is"
            said.append(f"{is_are.format(', '.join(words))} taken as the words")
    found = _made(parts, words)
    apart = [name for name in names if name in unfit and name not in found.told]
    said += [f"column {name} is left apart: no part of an ad has such values" for name in apart]
    if not set(found.told) - {found.id, found.seconds}:
        raise _nothing(names, file)
    return found, tuple(said)


def _told(
    names: Sequence[str], columns: AdColumns, file: str
) -> tuple[dict[str, str | None], tuple[str, ...] | None]:
    """Of each part the column that is told, as the table writes its name; capitals do not count."""
    told: dict[str, str | None] = {part: getattr(columns, part) for part in _USUAL}
    parts = {
        part: _there(theirs, part, names, file) if theirs else theirs
        for part, theirs in told.items()
    }
    if columns.words is None:
        return parts, None
    return parts, tuple(_there(name, "words", names, file) for name in columns.words)


def _made(parts: Mapping[str, str | None], words: tuple[str, ...]) -> AdColumns:
    return AdColumns(
        id=parts["id"],
        title=parts["title"],
        words=words,
        brand=parts["brand"],
        seconds=parts["seconds"],
        image=parts["image"],
        video=parts["video"],
        text=parts["text"],
    )


def _there(theirs: str, part: str, names: Sequence[str], file: str) -> str:
    if theirs in names:
        return theirs
    same = [name for name in names if name.strip().lower() == theirs.strip().lower()]
    if same:
        return same[0]
    alike = difflib.get_close_matches(theirs, names[:1000], n=1)
    close = f" (is it {alike[0]!r}?)" if alike else ""
    raise SchemaError(
        f"the table has no column {theirs!r}, which is to be the {part} of the ad",
        file=file,
        column=theirs,
        hint=f"correct the name{close}; the table has {_listed(names)}",
    )


def _nothing(names: Sequence[str], file: str) -> SchemaError:
    return SchemaError(
        "no column is known to hold a part of an ad: a title, words, a brand, an image, a video or "
        "a text",
        file=file,
        hint=f"say which one does: AdColumns(title=...); the table has {_listed(names)}",
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:60] for name in names[:_SHOWN]) + more


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
