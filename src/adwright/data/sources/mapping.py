"""How a log that others wrote becomes an EventLog: which column is which, what its kinds mean.

    LogMapping(columns={"user_id": "customer_id"}, kinds={"order": "purchase"}, context=("store",))

A mapping is what `adwright data import` is told by its options, or a TOML file of the same names.
What it leaves open follows from the names of the columns where they are obvious: a table with
visitorid, itemid, event and timestamp needs no mapping at all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Literal, NamedTuple, TypeAlias

import polars as pl

from adwright.core.config import settings
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.column_kinds import ColumnKind, check_column_kinds
from adwright.data.schema import EVENT_SCHEMA, KINDS, EventKind
from adwright.data.sources.times import is_format

__all__ = [
    "KINDS_BY_NAME",
    "LogMapping",
    "MappedKind",
    "NamedColumns",
    "id_column",
    "name_columns",
]

#: What events of a kind become: another kind, or nothing.
MappedKind: TypeAlias = Literal[EventKind, "none"]

#: Obvious names, in lower case without signs. An earlier name wins where several are there.
_USER = (
    *("userid", "user", "customerid", "customer", "visitorid", "visitor", "clientid", "client"),
    *("memberid", "member", "householdid", "household", "personid", "person", "accountid"),
    *("shopperid", "buyerid", "reviewerid", "fullvisitorid", "uid"),
)
_ITEM = (
    *("itemid", "item", "productid", "product", "sku", "articleid", "article", "movieid", "movie"),
    *("filmid", "asin", "parentasin", "stockcode", "trackid", "songid", "artistid", "bookid"),
    *("isbn", "offerid", "contentid", "newsid", "goodsid", "gameid", "businessid", "recipeid"),
    *("adid", "prodid", "iid"),
)
_QUANTITY = "quantity"
_NAMES: dict[str, tuple[str, ...]] = {
    "event_id": ("eventid", "reviewid", "logid", "rowid"),
    "time": (
        *("time", "timestamp", "eventtime", "eventtimestamp", "datetime", "date", "ts"),
        *("createdat", "unixtime", "unixreviewtime", "orderdate", "purchasedate", "invoicedate"),
        *("transactiondate", "transactiontime", "occurredat", "tdat", "eventdate"),
    ),
    "request_id": (
        *("requestid", "basketid", "orderid", "invoiceno", "invoiceid", "transactionid"),
        *("sessionid", "usersession", "session", "visitid", "impressionid", "slateid"),
    ),
    "user_id": _USER,
    "kind": (
        *("kind", "event", "eventtype", "eventname", "action", "actiontype", "behavior"),
        *("behaviour", "behaviortype", "interaction", "interactiontype"),
    ),
    "item_id": _ITEM,
    "creative_id": ("creativeid",),
    "campaign_id": ("campaignid",),
    "position": ("position", "rank", "slot"),
    "propensity": ("propensity", "propensityscore", "pscore"),
    "policy_id": ("policyid",),
    "value": ("value", "rating", "stars", "overall", "price", "amount", "revenue", "salesvalue"),
    "context": ("context",),
    # No column of the log: it says which rows are returns.
    _QUANTITY: (
        *("quantity", "qty", "units", "unitssold", "itemcount", "numitems", "orderqty"),
        *("quantityordered", "orderquantity", "menge", "anzahl", "stück", "stueck", "stk"),
        *("quantité", "quantite", "cantidad", "quantità", "quantita", "aantal", "quantidade"),
    ),
}
_RATINGS = ("rating", "stars", "overall")
_CLICKED = ("clicked", "isclicked", "isclick", "click", "wasclicked")
_NEEDED = ("user_id", "item_id", "time")

#: What the kinds of other programs mean, in lower case without signs.
KINDS_BY_NAME: dict[str, EventKind] = {
    **dict.fromkeys(("impression", "imp", "exposure", "shown", "show", "display"), "impression"),
    **dict.fromkeys(("view", "pageview", "viewitem", "productview", "detail"), "view"),
    **dict.fromkeys(("click", "clicked", "clickthrough"), "click"),
    **dict.fromkeys(("cart", "addtocart", "basket", "addtobasket"), "cart"),
    **dict.fromkeys(("purchase", "purchased", "order", "buy", "bought", "sale"), "purchase"),
    **dict.fromkeys(("transaction", "checkout"), "purchase"),
    **dict.fromkeys(("return", "returned", "refund", "refunded", "chargeback"), "return"),
    **dict.fromkeys(("conversion", "convert", "converted"), "conversion"),
    **dict.fromkeys(("redemption", "redeem", "redeemed"), "redemption"),
    **dict.fromkeys(("rating", "rate", "rated", "review"), "rating"),
    "stop": "stop",
}


@settings
class LogMapping:
    """What a log's columns and values mean; what is left open follows from obvious names.

    columns: column of the EventLog -> column of the table. Of a catalogue, item_id counts. quantity
        is one, too: where it is negative, or the value of a purchase is, the row is a return.
    kinds: kind in the table -> kind of the EventLog, or "none" to leave such events out.
    kind: of all events, where no column says it; None for rating where there are ratings, else
        purchase.
    clicked: column of 0 and 1: every row is an impression, and a click too where it is 1. Without
        it, one that is called clicked or click and holds nothing else.
    time_format: of times that are text, as strftime has it ("%d/%m/%Y %H:%M"), or "s" or "ms" for
        numbers since 1970; empty for ISO 8601 and seconds. Dates such as 03/04/2024 are never
        guessed at.
    time_zone: of times that name none, such as "Europe/Paris"; empty for UTC.
    context: columns that are put into the context; further columns are left out.
    min_rating: ratings below it are left out; None keeps all.
    drop_repeated: of events with one event_id, or without ids of rows that are equal, keep the
        first. drop_incomplete: leave out rows without a user, an item or a time. drop_future: leave
        out rows that are dated after now; False keeps them, None refuses a log with rows of more
        than a day after now.
    column_kinds: column of the catalogue or key of the context -> what it is; None of it decided
        by its values.
    """

    columns: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, MappedKind] = field(default_factory=dict)
    kind: EventKind | None = None
    clicked: str = ""
    time_format: str = ""
    time_zone: str = ""
    context: tuple[str, ...] = ()
    min_rating: float | None = None
    drop_repeated: bool = False
    drop_incomplete: bool = False
    drop_future: bool | None = None
    column_kinds: dict[str, ColumnKind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*EVENT_SCHEMA.names, _QUANTITY]
        for name in self.columns:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(
                    f"a log has no column {name!r}",
                    where="columns",
                    hint=f"write OURS=THEIRS with {', '.join(known)}"
                    + (f"; the closest is {close[0]}" if close else ""),
                )
        for theirs, ours in self.kinds.items():
            _check_kind(theirs, ours)
        check_column_kinds(self.column_kinds, "column_kinds")
        _check_time(self.time_format, self.time_zone)


class NamedColumns(NamedTuple):
    """columns: ours -> theirs. context: those that go into the context. clicked: the one that says
    what was clicked, or nothing. rated: whether value is a rating. said: what was taken by its
    name. left: columns that the log does not keep."""

    columns: dict[str, str]
    context: tuple[str, ...]
    clicked: str
    rated: bool
    said: tuple[str, ...]
    left: tuple[str, ...]


def name_columns(
    names: Sequence[str],
    mapping: LogMapping,
    repeats: Callable[[str], bool],
    flags: Callable[[str], bool] = lambda _: False,
    *,
    needed: Sequence[str] = _NEEDED,
    file: str = "",
    first_line: str = "",
) -> NamedColumns:
    """Which column of a table is which of the EventLog's: as the mapping says, else by its name.

    repeats: whether a column holds a value twice. A column called id is the item's, where nothing
    else is and its values repeat. flags: whether it holds nothing but 0 and 1. first_line: of a
    file that may lack its header.
    Raises SchemaError for a column that the mapping names and the table lacks, and for a needed
    one that is not found.
    """
    columns = {ours: _there(theirs, names, ours, file) for ours, theirs in mapping.columns.items()}
    context = tuple(_there(one, names, "part of the context", file) for one in mapping.context)
    clicked = _there(mapping.clicked, names, "clicked", file) if mapping.clicked else ""
    taken = {*columns.values(), *context, clicked}
    said: list[str] = []
    for ours, obvious in _NAMES.items():
        if ours in columns:
            continue
        of_log = taken if ours != _QUANTITY else columns.values()  # it may be context, too
        free = [name for name in names if name not in of_log]
        found = [ours] if ours in free else _obvious(free, obvious)
        if ours == "item_id" and not found:
            found = [name for name in free if _bare(name) in ("id", "code") and repeats(name)]
        if found:
            columns[ours] = found[0]
            taken.add(found[0])
            if ours == _QUANTITY:
                said.append(f"{found[0]} is taken as the quantity: where it is negative, a return")
            elif found[0] != ours:
                others = f" (and not {', '.join(found[1:])})" if found[1:] else ""
                said.append(f"{found[0]} is taken as {ours}{others}")
    missing = [name for name in needed if name not in columns]
    if missing:
        raise _missing(missing, names, len(columns) == 0, file, first_line)
    if not clicked and "kind" not in columns and mapping.kind is None:
        free = [name for name in names if name not in taken]
        clicked = next((name for name in _obvious(free, _CLICKED) if flags(name)), "")
        taken.add(clicked)
    if clicked:
        said.append(f"every row is an impression, and a click too where {clicked} is 1")
    rated = _bare(columns.get("value", "")) in _RATINGS
    left = tuple(name for name in names if name not in taken)
    return NamedColumns(columns, context, clicked, rated, tuple(said), left)


def id_column(names: Sequence[str], key: str, column: str = "", *, file: str = "") -> str:
    """The name of the id in a table about items or users: `column` where the table has it, else
    `key` or an obvious name of it. Raises SchemaError where there is none."""
    if column in names:
        return column
    if key in names:
        return key
    found = _obvious(names, _NAMES.get(key, (_bare(key),)))
    found = found or [name for name in names if _bare(name) in ("id", "code")]
    if found:
        return found[0]
    alike = difflib.get_close_matches(key, names[:1000], n=1)
    rename = f" (rename {alike[0]!r}?)" if alike else ""
    shown = ", ".join(name[:60] for name in names[:20])
    raise SchemaError(
        f"the needed column {key} is missing",
        file=file,
        column=key,
        hint=f"say which one it is, --columns {key}=THEIRS{rename}; the table has {shown}",
    )


def _obvious(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of `names` that are known ones, in the order of `known`."""
    bare = {_bare(name): name for name in reversed(names)}
    return [bare[name] for name in known if name in bare]


def _bare(name: str) -> str:
    """The name in lower case, letters and digits alone."""
    return re.sub(r"[\W_]", "", name.lower())


def _there(theirs: str, names: Sequence[str], ours: str, file: str) -> str:
    """The name as the table writes it; capitals do not count."""
    if theirs in names:
        return theirs
    same = [name for name in names if name.strip().lower() == theirs.strip().lower()]
    if same:
        return same[0]
    alike = difflib.get_close_matches(theirs, names[:1000], n=1)
    close = f" (is it {alike[0]!r}?)" if alike else ""
    raise SchemaError(
        f"the table has no column {theirs!r}, which is to be {ours}",
        file=file,
        column=theirs,
        hint=f"correct the name{close}; the table has {', '.join(n[:60] for n in names[:20])}",
    )


def _missing(
    missing: Sequence[str], names: Sequence[str], nothing: bool, file: str, first_line: str
) -> SchemaError:
    shown = ", ".join(name[:60] for name in names[:20])
    if nothing and first_line:
        return SchemaError(
            f"the header is missing, or names nothing that is known: the first line is "
            f"{first_line!r}",
            file=file,
            hint="put a line with the column names first, or say which is which: --columns "
            f"{','.join(f'{name}=THEIRS' for name in missing)}",
        )
    alike = difflib.get_close_matches(missing[0], list(names)[:1000], n=1, cutoff=0.75)
    theirs = alike[0] if alike else "THEIRS"
    return SchemaError(
        f"needed columns are missing: {', '.join(missing)}",
        file=file,
        column=missing[0],
        hint=f"say which one it is, --columns {missing[0]}={theirs}; the table has {shown}",
    )


def _check_kind(theirs: str, ours: str) -> None:
    choices = (*KINDS, "none")
    if ours not in choices:
        close = difflib.get_close_matches(str(ours), choices, n=1)
        raise ConfigError(
            f"{theirs} cannot be {str(ours)[:60]!r}",
            where="kinds",
            hint=f"use one of {', '.join(choices)}"
            + (f"; the closest is {close[0]}" if close else ""),
        )


def _check_time(time_format: str, time_zone: str) -> None:
    if time_format not in ("", "s", "ms") and not is_format(time_format):
        raise ConfigError(
            f"{time_format!r} is no format of a time",
            where="time_format",
            hint='write it like "%d/%m/%Y %H:%M", or s or ms for numbers since 1970',
        )
    if time_zone:
        try:
            pl.Series([], dtype=pl.Datetime("us", time_zone))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise ConfigError(
                f"the time zone {time_zone[:60]!r} is unknown",
                where="time_zone",
                hint='name one like "Europe/Paris" or "UTC"',
            ) from error
