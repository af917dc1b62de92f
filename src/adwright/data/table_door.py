"""The table door: which column of somebody's table is which of ours, as told or by usual names.

    ads = TableSpec("an ad", {"id": ("id", "adid"), "title": ("headline", "title")})
    ads.name(["Ad ID", "Claim"], {"title": "claim"}).columns   # {"title": "Claim", "id": "Ad ID"}

All doors for tables use it: logs, exports of ads, tables of ads, shops and catalogues. Their usual
names are data, in the folder `synonyms` beside this file. Names are compared by `bare_name`, so
"Product ID", product_id and productId are one name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from adwright.core.config import closest_name
from adwright.core.errors import ConfigError, SchemaError

#: Names that an error shows, and characters of each.
_SHOWN, _CHARACTERS = 20, 60
#: Names that are looked through for one that is alike.
_LOOKED = 1000
#: A currency behind a heading, as in "Cost (EUR)".
CURRENCY = re.compile(r"\(\s*([A-Z]{3})\s*\)\s*$")


class NamedTable(NamedTuple):
    """columns: field -> column, in the order in which they were found. said: what was taken by its
    name, a sentence each."""

    columns: dict[str, str]
    said: tuple[str, ...]


@dataclass(frozen=True)
class TableSpec:
    """What is known of the columns of a kind of table.

    what: it tells of, such as "a product". synonyms: field -> names that its column usually has,
    the best first; the first fields choose first. needed: fields that cannot be absent. signs:
    names that tables of this kind alone have. own_names: a column that is called exactly as a field
    is it, whatever usual names say.
    """

    what: str
    synonyms: Mapping[str, Sequence[str]]
    needed: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    own_names: bool = False

    def name(
        self,
        names: Sequence[str],
        told: Mapping[str, str] | None = None,
        *,
        fits: Callable[[str, str], bool] = lambda _field, _name: True,
        taken: Sequence[str] = (),
        once: bool = True,
        file: str = "",
    ) -> NamedTable:
        """The columns of a table with these `names`; what is needed is not checked, see `require`.

        told: field -> column, which wins; an empty one says that there is none. fits: whether the
        values of a column can be of a field that has to be guessed. taken: columns that are
        something else. once: a column that is a field is not guessed for another one. Raises
        SchemaError for a column that is told and not there.
        """
        told = told or {}
        columns = {
            field: find_column(theirs, names, field, file=file)
            for field, theirs in told.items()
            if theirs
        }
        used, said = {*columns.values(), *taken}, []
        for field in self.synonyms:
            if field in told:
                continue
            found = [
                name
                for name in self.guesses(field, names)
                if not (once and name in used) and fits(field, name)
            ]
            if not found:
                continue
            columns[field] = found[0]
            used.add(found[0])
            others = f" (and not {', '.join(found[1:])})" if found[1:] else ""
            if others or bare_name(found[0]) != bare_name(field):
                said.append(f"{found[0]} is taken as {field}{others}")
        return NamedTable(columns, tuple(said))

    def guesses(self, field: str, names: Sequence[str]) -> list[str]:
        """Those of `names` that are usual ones of the field, the best first."""
        if self.own_names and field in names:
            return [field]
        return usual_columns(self.synonyms.get(field, ()), names)

    def check_fields(self, told: Mapping[str, object], *, also: Sequence[str] = ()) -> None:
        """Raise ConfigError for a field that there is not. also: fields without usual names."""
        known = list(dict.fromkeys([*self.synonyms, *also]))
        for field in told:
            if field not in known:
                close = closest_name(field, known)
                raise ConfigError(
                    f"{self.what} has no column {field!r}",
                    where="columns",
                    hint=f"write OURS=THEIRS with {', '.join(known)}"
                    + (f"; the closest is {close}" if close else ""),
                )

    def require(
        self,
        columns: Mapping[str, str],
        names: Sequence[str],
        *,
        needed: Sequence[str] | None = None,
        file: str = "",
        first_line: str = "",
        also: str = "",
    ) -> None:
        """Raise SchemaError where a needed field has no column.

        needed: instead of the usual ones. first_line: of a file that may lack its header. also:
        what else might be done.
        """
        missing = [one for one in self.needed if one not in columns] if needed is None else needed
        missing = [field for field in missing if field not in columns]
        if not missing:
            return
        if not columns and first_line:
            raise SchemaError(
                "the header is missing, or names nothing that is known: the first line is "
                f"{first_line!r}",
                file=file,
                hint="put a line with the column names first, or say which is which: --columns "
                f"{','.join(f'{field}=THEIRS' for field in missing)}",
            )
        free = {bare_name(one): one for one in names[:_LOOKED] if one not in columns.values()}
        wanted = map(bare_name, (missing[0], *self.synonyms.get(missing[0], ())))
        close = [one for want in wanted for one in get_close_matches(want, free, n=1, cutoff=0.75)]
        theirs = free[close[0]] if close else "THEIRS"
        raise SchemaError(
            f"needed columns are missing: {', '.join(missing)}",
            file=file,
            column=missing[0],
            hint=f"say which one it is, --columns {missing[0]}={theirs}{also}; the table has "
            f"{listed(names)}",
        )


def bare_name(name: str) -> str:
    """The name in lower case, letters and digits alone, without a currency behind it.

    >>> bare_name("Product ID"), bare_name("Amount spent (EUR)")
    ('productid', 'amountspent')
    """
    return re.sub(r"[\W_]", "", CURRENCY.sub("", name).lower())


def usual_columns(usual: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those of `names` that are among the `usual` ones, in the order of these, each once."""
    by_bare = {bare_name(name): name for name in reversed(names)}
    found = (by_bare.get(bare_name(one)) for one in usual)
    return list(dict.fromkeys(name for name in found if name is not None))


def find_column(theirs: str, names: Sequence[str], ours: str = "", *, file: str = "") -> str:
    """The column as the table writes it; capitals, blanks and signs do not count.

    ours: what it is to be. Raises SchemaError where it is not there.
    """
    if theirs in names:
        return theirs
    asked = theirs.strip().lower()
    same = [name for name in names if name.strip().lower() == asked]
    bare = bare_name(theirs)
    same += [name for name in names if bare and bare_name(name) == bare]
    if same:
        return same[0]
    close = closest_name(theirs, names[:_LOOKED])
    meant = f" (is it {close!r}?)" if close else ""
    raise SchemaError(
        f"the table has no column {theirs!r}" + (f", which is to be {ours}" if ours else ""),
        file=file,
        column=theirs,
        hint=f"correct the name{meant}; the table has {listed(names)}",
    )


def listed(names: Sequence[str]) -> str:
    """The first names, cut where they are long, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:_CHARACTERS] for name in names[:_SHOWN]) + more


@cache
def synonyms(name: str) -> dict[str, Any]:
    """The file of usual names of that name, such as "log": its tables, as they are written."""
    return tomllib.loads(files(__package__).joinpath(f"synonyms/{name}.toml").read_text("utf-8"))


@cache
def table_specs(name: str) -> dict[str, TableSpec]:
    """The kinds of table in a file of usual names."""
    return {
        kind: TableSpec(
            said["what"],
            said["synonyms"],
            tuple(said.get("needed", ())),
            tuple(said.get("signs", ())),
            said.get("own_names", False),
        )
        for kind, said in synonyms(name).items()
        if isinstance(said, dict) and "synonyms" in said
    }
