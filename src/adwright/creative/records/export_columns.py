"""What the columns of an export are called, and which platform it is of.

    name_export(["Day", "Ad ID", "Impr.", "Cost", "Currency code"]).source     # "google"

Known are the English names that Meta Ads Manager, Google Ads and TikTok Ads Manager print in their
reports, and the fields of their interfaces: Meta's insights, Google's query language (also as its
clients write it, adGroupAd.ad.id) and TikTok's integrated reports. Signs, blanks and capitals do
not count. Of several names of one column the first that is there is taken: clicks are those on the
link where a platform tells them from all clicks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple, get_args

from adwright.core.errors import SchemaError
from adwright.data.table_door import (
    CURRENCY,
    TableSpec,
    bare_name,
    listed,
    synonyms,
    table_specs,
)

__all__ = [
    "DeliverySource",
    "NamedExport",
    "columns_known",
    "known_names",
    "name_export",
    "status_cause",
]

DeliverySource = Literal["meta", "google", "tiktok", "table"]
_GAQL = ("metrics", "segments", "adgroupad", "customer")
#: What a person without a header is asked for.
_FIRST = ("ad_id", "day", "impressions")


class NamedExport(NamedTuple):
    """source: the platform. columns: ours -> theirs. currency: that the heading of spend says, or
    nothing. said: what was taken by its name. left: columns that are not kept."""

    source: DeliverySource
    columns: dict[str, str]
    currency: str
    said: tuple[str, ...]
    left: tuple[str, ...]


def columns_known() -> tuple[str, ...]:
    """All that an export may say."""
    return tuple(_any_platform().synonyms)


def known_names(names: Sequence[str], also: Sequence[str] = ()) -> int:
    """How many of `names` an export may have; `also`: those that somebody named."""
    known = {bare_name(one) for usual in _any_platform().synonyms.values() for one in usual}
    return len({bare_name(name) for name in names} & (known | set(map(bare_name, also))))


def name_export(
    names: Sequence[str],
    source: DeliverySource | None = None,
    given: Mapping[str, str] | None = None,
    *,
    file: str = "",
    first_line: str = "",
) -> NamedExport:
    """Which column of an export is which of ours.

    source: None for the platform that the names tell of. given: ours -> theirs, which win.
    Raises ConfigError for a column that a record has not, SchemaError where the platform cannot be
    told, two columns read alike, a column that is given is not there, or a needed one is missing.
    """
    given = dict(given or {})
    _any_platform().check_fields(given)
    _check_distinct(names, file)
    source = source or _source_of(names, given, file, first_line)
    spec = _any_platform() if source == "table" else table_specs("exports")[source]
    in_full = "spend" in given or set(spec.guesses("spend", names)) - set(given.values())
    told = {"micros": ""} | given if in_full else given
    columns, said = spec.name(names, told, file=file)
    _require(columns, names, spec, source, file)
    if "day" in columns and "week" in columns and "week" not in given:
        del columns["week"]
    # The end of a period tells its length where the day is that of its beginning.
    begins = bare_name(columns.get("day", "")) in ("datestart", "reportingstarts")
    if "period_end" in columns and "period_end" not in given and not begins:
        del columns["period_end"]
    heading = CURRENCY.search(columns.get("spend", ""))
    left = tuple(name for name in names if name not in columns.values())
    return NamedExport(source, columns, heading[1] if heading else "", said, left)


def status_cause(status: str) -> str:
    """The StopCause that a platform's word for a status means; empty where the ad may run, or the
    word says nothing of it.

    >>> status_cause("Paused"), status_cause("ADGROUP_STATUS_BUDGET_EXCEED"), status_cause("On")
    ('operator', 'budget', '')
    """
    bare, causes = bare_name(status), synonyms("exports")["causes"]
    return next((cause for cause, words in causes.items() if re.search(words, bare)), "")


@cache
def _any_platform() -> TableSpec:
    """A table with columns named as ours, or as any platform has them."""
    specs = table_specs("exports").values()
    fields = dict.fromkeys(field for spec in specs for field in spec.synonyms)
    usual = {
        field: tuple(
            dict.fromkeys(
                (bare_name(field), *(one for spec in specs for one in spec.synonyms.get(field, ())))
            )
        )
        for field in fields
    }
    return TableSpec("a delivery record", usual, next(iter(specs)).needed)


def _source_of(
    names: Sequence[str], given: Mapping[str, str], file: str, first_line: str
) -> DeliverySource:
    bare = {bare_name(name) for name in names}
    counts = {
        name: sum(sign in bare for sign in spec.signs)
        for name, spec in table_specs("exports").items()
    }
    counts["google"] += sum(name.startswith(_GAQL) for name in bare)
    best = max(counts, key=lambda name: counts[name])
    alike = [name for name in counts if counts[name] == counts[best]]
    if counts[best] and len(alike) == 1:
        return next(one for one in get_args(DeliverySource) if one == best)
    known = known_names(names)
    if given or (not counts[best] and known > 1):
        return "table"
    if not known and first_line:
        _any_platform().require({}, names, needed=_FIRST, file=file, first_line=first_line)
    raise SchemaError(
        "the columns do not tell which platform the export is of",
        file=file,
        hint=f"say source='meta', 'google', 'tiktok' or 'table'; the table has {listed(names)}",
    )


def _check_distinct(names: Sequence[str], file: str) -> None:
    """Raise SchemaError where two known names read alike."""
    found: dict[str, str] = {}
    for name in names:
        bare = bare_name(name)
        if bare in found and known_names([bare]):
            raise SchemaError(
                f"two columns read alike: {found[bare]!r} and {name!r}",
                file=file,
                column=name,
                hint="rename one, or export without it",
            )
        found.setdefault(bare, name)


def _require(
    columns: Mapping[str, str], names: Sequence[str], spec: TableSpec, source: str, file: str
) -> None:
    dated = "day" in columns or "week" in columns
    by_day = "" if dated else " (break the report down by day)"
    spec.require(
        columns,
        names,
        needed=[*(() if dated else ("day",)), *spec.needed],
        file=file,
        also=f", or add it to the export of {source}{by_day}",
    )
