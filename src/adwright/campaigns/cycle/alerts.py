"""What a person has to know of a cycle, kept in its journal, and sent until somebody took it.

An alert goes to each address as JSON by POST:

    {"id": "...", "time": "...", "cycle": "/.../cycle.toml", "tenant": "acme", "what": "failed",
     "step": "write", "text": "Error: ..."}

With a secret the header X-Adwright-Signature is "sha256=" and the HMAC of the body, in hexadecimal.
What nobody took (an answer of the 200s) is kept, and sent again at the next call. One that is about
the same thing comes once a day.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable
from datetime import date, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.request import Request, urlopen

from adwright.campaigns.cycle.book import Book
from adwright.campaigns.cycle.plan import Cycle
from adwright.campaigns.store.store import Store
from adwright.campaigns.wanted import ad_days
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash

AlertKind = Literal["failed", "budget", "refused", "no fresh events", "drift"]
SIGNATURE = "X-Adwright-Signature"
#: Responses that a judge predicts at least, before it is held to them, and how many standard
#: errors count as none.
_LEAST, _SIGMAS = 50.0, 3.0
_TEXT = 2_000

#: Sends a body with a signature to an address, within so many seconds; whether somebody took it.
Post = Callable[[str, bytes, str, float], bool]


def raise_alert(book: Book, now: datetime, what: AlertKind, step: str, text: str) -> bool:
    """Write an alert down, unless the same was told on this day already; whether it is new."""
    name = content_hash([what, step, f"{now:%Y-%m-%d}"])[:16]
    if any(row["kind"] == "alert" and row["id"] == name for row in book.rows):
        return False
    row = {"kind": "alert", "id": name, "what": what, "about": step, "text": text[:_TEXT]}
    book.write(now, row)
    return True


def secret_of(cycle: Cycle) -> str:
    """What signs alerts; empty where nothing does. Raises ConfigError where the secret is not in
    the environment."""
    name = cycle.file.alerts.secret
    key = os.environ.get(name, "") if name else ""
    if name and not key:
        raise ConfigError(
            "the secret that signs alerts is not there",
            where=name,
            hint="set this environment variable, or take alerts.secret out",
        )
    return key


def send_alerts(cycle: Cycle, book: Book, now: datetime, *, post: Post | None = None) -> int:
    """Send what has not been taken yet; how many were not taken now either. Raises as
    `secret_of`."""
    settings, key = cycle.file.alerts, secret_of(cycle)
    taken = {(row["id"], row["url"]) for row in book.rows if row["kind"] == "sent"}
    left = 0
    silent = set[str]()
    for row in [one for one in book.rows if one["kind"] == "alert"]:
        told = {"id": row["id"], "time": row["time"], "cycle": str(cycle.path)}
        told |= {"tenant": cycle.file.tenant, "what": row["what"], "step": row["about"]}
        body = json.dumps({**told, "text": row["text"]}).encode()
        signed = f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}" if key else ""
        for url in settings.urls:
            if (row["id"], url) in taken:
                continue
            if url not in silent and (post or _post)(url, body, signed, settings.timeout):
                book.write(now, {"kind": "sent", "id": row["id"], "url": url})
            else:
                silent.add(url)  # its others wait for the next call
                left += 1
    return left


def _post(url: str, body: bytes, signed: str, seconds: float) -> bool:
    headers = {"Content-Type": "application/json", **({SIGNATURE: signed} if signed else {})}
    try:
        with urlopen(Request(url, body, headers, method="POST"), timeout=seconds) as answer:
            return bool(200 <= answer.status < 300)
    except (OSError, HTTPException, ValueError):
        return False


def look_at_store(cycle: Cycle, book: Book, store: Store, now: datetime) -> None:
    """Raise alerts about what came into the store: nothing fresh, or, once a day, not what a judge
    predicted."""
    settings, tenant = cycle.file.alerts, cycle.file.tenant
    if settings.fresh is not None and not _is_fresh(store, tenant, settings.fresh, now):
        said = f"{tenant} has had no event for {settings.fresh:g} hours"
        raise_alert(book, now, "no fresh events", "", said)
    looked = {row["time"][:10] for row in book.rows if row["kind"] == "looked"}
    if settings.drift is not None and f"{now:%Y-%m-%d}" not in looked:
        book.write(now, {"kind": "looked"})
        predicted, took = judged(store, tenant, settings.judge, now)
        if predicted < _LEAST:
            return
        off = max(took / predicted, predicted / max(took, 0.5))
        if off > settings.drift * (1 + _SIGMAS / predicted**0.5):
            said = f"predicted {predicted:,.0f} responses to ads, and {took:,.0f} came"
            raise_alert(book, now, "drift", "", f"{settings.judge} {said}")


def _is_fresh(store: Store, tenant: str, hours: float, now: datetime) -> bool:
    """Whether an event came within so many hours. What was compacted is of days that are over."""
    since = now - timedelta(hours=hours)
    days: list[date] = store.event_counts(tenant)["day"].to_list()
    for folder in store.totals(tenant).folders:
        days += [
            date.fromisoformat(one.name.partition("=")[2]) for one in Path(folder).glob("date=*")
        ]
    if not days or max(days) < since.date():
        return False
    return max(days) > since.date() or store.events(tenant, since=since).height > 0


def judged(store: Store, tenant: str, judge: str, now: datetime) -> tuple[float, float]:
    """How many responses a judge predicted of the ads that it has scored, and how many came."""
    days = ad_days(store, tenant, until=now)
    scores = store.creative_scores(tenant, list(days.ads))
    predicted = took = 0.0
    for at, ad in enumerate(days.ads):
        if judge in scores.get(ad, {}):
            predicted += float(days.shown[at].sum()) * scores[ad][judge].value
            took += float(days.responses[at].sum())
    return predicted, took
