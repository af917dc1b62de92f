"""What the columns of an export are called, and which platform it is of.

    name_export(["Day", "Ad ID", "Impr.", "Cost", "Currency code"]).source     # "google"

Known are the English names that Meta Ads Manager, Google Ads and TikTok Ads Manager print in their
reports, and the fields of their interfaces: Meta's insights, Google's query language (also as its
clients write it, adGroupAd.ad.id) and TikTok's integrated reports. Signs, blanks and capitals do
not count. Of several names of one column the first that is there is taken: clicks are those on the
link where a platform tells them from all clicks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from adwright.core.errors import SchemaError

__all__ = [
    "COLUMNS",
    "DeliverySource",
    "NamedExport",
    "known_names",
    "name_export",
    "status_cause",
]

DeliverySource = Literal["meta", "google", "tiktok", "table"]

#: Names in lower case, letters and digits alone. `week` begins a row of seven days, `period_end`
#: is the last day of the row, `micros` is spend in millionths.
_META: Mapping[str, tuple[str, ...]] = {
    "creative_id": ("creativeid", "adcreativeid"),
    "ad_id": ("adid",),
    "ad_group_id": ("adsetid",),
    "campaign_id": ("campaignid",),
    "account_id": ("accountid",),
    "ad_name": ("adname",),
    "ad_group_name": ("adsetname",),
    "campaign_name": ("campaignname",),
    "day": ("day", "datestart", "reportingstarts"),
    "week": ("week",),
    "period_end": ("datestop", "reportingends"),
    "time_zone": ("timezone", "timezonename", "accounttimezone"),
    "impressions": ("impressions",),
    "clicks": ("linkclicks", "inlinelinkclicks", "clicksall", "clicks"),
    "spend": ("amountspent", "spend"),
    "currency": ("currency", "accountcurrency"),
    "conversions": ("purchases", "websitepurchases", "conversions", "results"),
    "conversion_value": (
        *("purchasesconversionvalue", "purchaseconversionvalue"),
        *("websitepurchasesconversionvalue", "purchasevalue", "conversionvalue"),
    ),
    "reach": ("reach",),
    "frequency": ("frequency",),
    "platform": ("platform", "publisherplatform"),
    "placement": ("placement", "platformposition"),
    "device": ("impressiondevice", "deviceplatform", "device"),
    "country": ("country",),
    "region": ("region",),
    "age": ("age",),
    "gender": ("gender",),
    "audience": ("audience", "audiencename", "customaudience"),
    "objective": ("objective",),
    "starts": ("starts", "starttime"),
    "ends": ("ends", "stoptime", "endtime"),
    "status": ("addelivery", "deliverystatus", "delivery", "effectivestatus", "adstatus"),
    "headline": ("headline", "title", "headlineadsettings", "titleassetname"),
    "description": ("linkdescription", "description", "descriptionadsettings"),
    "body": ("body", "bodyadsettings", "text", "primarytext", "bodyassetname"),
    "call_to_action": ("calltoaction", "calltoactiontype", "calltoactionassetname"),
}
_GOOGLE: Mapping[str, tuple[str, ...]] = {
    "ad_id": ("adid", "adgroupadadid"),
    "ad_group_id": ("adgroupid",),
    "campaign_id": ("campaignid",),
    "account_id": ("customerid", "accountid", "externalcustomerid"),
    "ad_name": ("adname", "adgroupadadname"),
    "ad_group_name": ("adgroup", "adgroupname"),
    "campaign_name": ("campaign", "campaignname"),
    "day": ("day", "segmentsdate", "date"),
    "week": ("week", "segmentsweek"),
    "time_zone": ("timezone", "customertimezone", "accounttimezone"),
    "impressions": ("impr", "impressions", "metricsimpressions"),
    "clicks": ("clicks", "metricsclicks"),
    "spend": ("cost",),
    "micros": ("metricscostmicros", "costmicros"),
    "currency": ("currencycode", "currency", "customercurrencycode"),
    "conversions": ("conversions", "metricsconversions"),
    "conversion_value": ("convvalue", "totalconvvalue", "metricsconversionsvalue"),
    "platform": ("networkwithsearchpartners", "network", "segmentsadnetworktype"),
    "device": ("device", "segmentsdevice"),
    "country": ("countryterritory", "country"),
    "region": ("region",),
    "age": ("age", "agerange"),
    "gender": ("gender",),
    "audience": ("audiencesegment", "audience"),
    "objective": ("campaigntype", "advertisingchanneltype", "campaignadvertisingchanneltype"),
    "format": ("adtype", "adgroupadadtype"),
    "starts": ("campaignstartdate", "startdate"),
    "ends": ("campaignenddate", "enddate"),
    "status": ("adstatus", "adstate", "adgroupadstatus"),
    "headline": ("headline1", "headline", "adtitle"),
    "description": ("description", "description1", "descriptionline1"),
    "brand": ("businessname",),
    "call_to_action": ("calltoactiontext",),
}
_TIKTOK: Mapping[str, tuple[str, ...]] = {
    "creative_id": ("creativeid", "videoid", "materialid"),
    "ad_id": ("adid",),
    "ad_group_id": ("adgroupid",),
    "campaign_id": ("campaignid",),
    "account_id": ("advertiserid", "accountid"),
    "ad_name": ("adname",),
    "ad_group_name": ("adgroupname",),
    "campaign_name": ("campaignname",),
    "day": ("stattimeday", "byday", "date", "day"),
    "week": ("byweek", "stattimeweek"),
    "time_zone": ("timezone", "advertisertimezone"),
    "impressions": ("impressions", "impression"),
    "clicks": ("clicksdestination", "clicks", "clicksall"),
    "spend": ("cost", "spend", "totalcost"),
    "currency": ("currency",),
    "conversions": ("conversions", "conversion", "totalconversions"),
    "conversion_value": (
        *("totalcompletepaymentvalue", "completepaymentvalue", "totalpurchasevalue"),
        *("totalvalue", "conversionvalue"),
    ),
    "reach": ("reach",),
    "frequency": ("frequency",),
    "platform": ("operatingsystem", "platform"),
    "placement": ("placement", "placementtype"),
    "country": ("countryregion", "countrycode", "country"),
    "region": ("subregion", "provinceid", "region"),
    "age": ("age", "agegroup"),
    "gender": ("gender",),
    "audience": ("audience",),
    "objective": ("advertisingobjective", "objectivetype", "objective"),
    "format": ("adformat",),
    "starts": ("schedulestarttime", "starttime"),
    "ends": ("scheduleendtime", "endtime"),
    "status": ("primarystatus", "adstatus", "status", "secondarystatus"),
    "body": ("adtext", "text"),
    "call_to_action": ("calltoaction",),
    "brand": ("displayname", "appname"),
}
#: Names that one platform alone has.
_SIGNS: Mapping[str, tuple[str, ...]] = {
    "meta": (
        *("amountspent", "reportingstarts", "reportingends", "adsetid", "adsetname", "datestart"),
        *("datestop", "accountcurrency", "inlinelinkclicks", "linkclicks", "publisherplatform"),
        *("addelivery", "impressiondevice"),
    ),
    "google": (
        *("impr", "currencycode", "convvalue", "costmicros", "customerid", "countryterritory"),
        *("networkwithsearchpartners", "adgroup", "adstate"),
    ),
    "tiktok": (
        *("stattimeday", "byday", "byweek", "clicksdestination", "advertiserid", "primarystatus"),
        *("secondarystatus", "conversion", "countryregion"),
    ),
}
_GAQL = ("metrics", "segments", "adgroupad", "customer")
#: What a row cannot do without.
_NEEDED = ("ad_id", "impressions")
#: All that an export may say.
COLUMNS = tuple(dict.fromkeys(name for known in (_META, _GOOGLE, _TIKTOK) for name in known))

_CURRENCY = re.compile(r"\(\s*([A-Z]{3})\s*\)\s*$")
#: Words of a status, and why an ad of it stands still.
_CAUSES: tuple[tuple[str, str], ...] = (
    (r"account|advertiser|suspend|paymentfail|unsettled|billing", "account"),
    (r"budget|spendlimit|balance|insufficient", "budget"),
    (r"reject|disapprov|notapproved|auditden|reviewfail|violat|banned", "refused"),
    (r"complete|ended|finish|expired|scheduleover|timedone", "flight"),
    (r"rule|automat", "automatic"),
    (r"paus|off|disabl|delet|remov|archiv|stopped|inactive", "operator"),
)


class NamedExport(NamedTuple):
    """source: the platform. columns: ours -> theirs. currency: that the heading of spend says, or
    nothing. said: what was taken by its name. left: columns that are not kept."""

    source: DeliverySource
    columns: dict[str, str]
    currency: str
    said: tuple[str, ...]
    left: tuple[str, ...]


def known_names(names: Sequence[str], also: Sequence[str] = ()) -> int:
    """How many of `names` an export may have; `also`: those that somebody named."""
    known = {one for table in (_META, _GOOGLE, _TIKTOK) for some in table.values() for one in some}
    known |= {_bare(name) for name in (*COLUMNS, *also)}
    return len({_bare(name) for name in names} & known)


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
    Raises SchemaError where the platform cannot be told, two columns read alike, a column that is
    given is not there, or a needed one is missing.
    """
    given = dict(given or {})
    for ours in given:
        if ours not in COLUMNS:
            close = difflib.get_close_matches(ours, COLUMNS, n=1)
            raise SchemaError(
                f"a delivery record has no column {ours!r}",
                file=file,
                column=ours,
                hint=f"use one of {', '.join(COLUMNS)}"
                + (f"; the closest is {close[0]}" if close else ""),
            )
    bare = _by_bare_name(names, file)
    source = source or _source_of(bare, given, file, first_line)
    columns = {ours: _there(theirs, names, ours, file) for ours, theirs in given.items()}
    taken, said = set(columns.values()), []
    for ours, known in _table_of(source).items():
        if ours in columns or (ours == "micros" and "spend" in columns):
            continue
        found = [bare[name] for name in known if name in bare and bare[name] not in taken]
        if found:
            columns[ours] = found[0]
            taken.add(found[0])
            if _bare(found[0]) != _bare(ours):
                others = f" (and not {', '.join(found[1:])})" if found[1:] else ""
                said.append(f"{found[0]} is taken as {ours}{others}")
    _check_needed(columns, names, source, file, first_line)
    if "day" in columns and "week" in columns and "week" not in given:
        taken.discard(columns.pop("week"))
    # The end of a period tells its length where the day is that of its beginning.
    begins = _bare(columns.get("day", "")) in ("datestart", "reportingstarts")
    if "period_end" in columns and "period_end" not in given and not begins:
        taken.discard(columns.pop("period_end"))
    heading = _CURRENCY.search(columns.get("spend", ""))
    return NamedExport(
        source,
        columns,
        heading[1] if heading else "",
        tuple(said),
        tuple(name for name in names if name not in taken),
    )


def status_cause(status: str) -> str:
    """The StopCause that a platform's word for a status means; empty where the ad may run, or the
    word says nothing of it.

    >>> status_cause("Paused"), status_cause("ADGROUP_STATUS_BUDGET_EXCEED"), status_cause("On")
    ('operator', 'budget', '')
    """
    bare = _bare(status)
    return next((cause for words, cause in _CAUSES if re.search(words, bare)), "")


def _table_of(source: str) -> Mapping[str, tuple[str, ...]]:
    match source:
        case "meta":
            return _META
        case "google":
            return _GOOGLE
        case "tiktok":
            return _TIKTOK
    tables = (_META, _GOOGLE, _TIKTOK)
    return {
        ours: tuple(
            dict.fromkeys((_bare(ours), *(one for known in tables for one in known.get(ours, ()))))
        )
        for ours in COLUMNS
    }


def _source_of(
    bare: Mapping[str, str], given: Mapping[str, str], file: str, first_line: str
) -> DeliverySource:
    counts = {name: sum(sign in bare for sign in signs) for name, signs in _SIGNS.items()}
    counts["google"] += sum(name.startswith(_GAQL) for name in bare)
    best = max(counts, key=lambda name: counts[name])
    alike = [name for name in counts if counts[name] == counts[best]]
    if counts[best] and len(alike) == 1:
        return next(one for one in get_args(DeliverySource) if one == best)
    if given or (not counts[best] and known_names(list(bare)) > 1):
        return "table"
    shown = ", ".join(name[:60] for name in list(bare.values())[:20])
    if not known_names(list(bare.values())) and first_line:
        raise SchemaError(
            f"the header is missing, or names nothing that is known: the first line is "
            f"{first_line!r}",
            file=file,
            hint="export with a line of column names, or say which is which: "
            "columns={'ad_id': ..., 'day': ..., 'impressions': ...}",
        )
    raise SchemaError(
        "the columns do not tell which platform the export is of",
        file=file,
        hint=f"say source='meta', 'google', 'tiktok' or 'table'; the table has {shown}",
    )


def _by_bare_name(names: Sequence[str], file: str) -> dict[str, str]:
    """Bare name -> name; raises SchemaError where two known names read alike."""
    found: dict[str, str] = {}
    for name in names:
        bare = _bare(name)
        if bare in found and known_names([bare]):
            raise SchemaError(
                f"two columns read alike: {found[bare]!r} and {name!r}",
                file=file,
                column=name,
                hint="rename one, or export without it",
            )
        found.setdefault(bare, name)
    return found


def _check_needed(
    columns: Mapping[str, str], names: Sequence[str], source: str, file: str, first_line: str
) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if "day" not in columns and "week" not in columns:
        missing.insert(0, "day")
    if not missing:
        return
    free = [name for name in names if name not in columns.values()]
    wanted = _table_of(source).get(missing[0], ()) or (missing[0],)
    alike = [
        name
        for name in free
        if difflib.get_close_matches(_bare(name), (*wanted, _bare(missing[0])), n=1, cutoff=0.75)
    ]
    theirs = alike[0] if alike else "THEIRS"
    by_day = " (in the export, break the report down by day)" if missing[0] == "day" else ""
    raise SchemaError(
        f"needed columns are missing: {', '.join(missing)}{by_day}",
        file=file,
        column=missing[0],
        hint=f"say which one it is, columns={{{missing[0]!r}: {theirs!r}}}, or add it to the "
        f"export of {source}; the table has {', '.join(name[:60] for name in names[:20])}",
    )


def _there(theirs: str, names: Sequence[str], ours: str, file: str) -> str:
    if theirs in names:
        return theirs
    same = [name for name in names if name.strip().lower() == theirs.strip().lower()]
    if same:
        return same[0]
    alike = difflib.get_close_matches(theirs, list(names)[:1000], n=1)
    close = f" (is it {alike[0]!r}?)" if alike else ""
    raise SchemaError(
        f"the table has no column {theirs!r}, which is to be {ours}",
        file=file,
        column=theirs,
        hint=f"correct the name{close}; the table has {', '.join(n[:60] for n in names[:20])}",
    )


def _bare(name: str) -> str:
    """The name in lower case, letters and digits alone, without a currency behind it."""
    return re.sub(r"[\W_]", "", _CURRENCY.sub("", name).lower())
