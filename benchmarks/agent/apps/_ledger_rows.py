"""What a ledger of Beancount says, as JSON: {table: [[name, row], ...]}.

    python _ledger_rows.py LEDGER

A table for each kind of entry, one of the options that its books are known by, and one of its
errors. A name stays with an entry when its other values change. Amounts are written one way.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from typing import Any

from beancount import loader
from beancount.core.amount import Amount
from beancount.core.data import Custom, Transaction

#: By which an entry of its kind is known, besides its date.
_SUBJECTS = ("account", "currency", "name", "type")
_OPTIONS = ("title", "operating_currency")
#: What the loader works out of other entries.
_DERIVED = frozenset(("meta", "diff_amount"))


def main(path: str) -> None:
    """Print the rows of the ledger at `path`."""
    entries, errors, options = loader.load_file(path)
    seen: Counter[str] = Counter()
    found: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for entry in entries:
        table = type(entry).__name__
        subject = next((getattr(entry, one) for one in _SUBJECTS if hasattr(entry, one)), "")
        name = f"{entry.date} {subject}"
        seen[f"{table} {name}"] += 1
        row = dict(_row(entry))
        found.setdefault(table, []).append((f"{name} {seen[f'{table} {name}']}", row))
    found["options"] = [(one, {"name": one, "value": _text(options[one])}) for one in _OPTIONS]
    found["errors"] = [(one.message, {"message": one.message}) for one in errors]
    print(json.dumps(found))


def _row(entry: Any) -> Iterator[tuple[str, str]]:
    for name, value in entry._asdict().items():
        if name not in _DERIVED:
            yield name, _postings(value) if name == "postings" else _text(value)
    if isinstance(entry, Transaction | Custom):
        known = {name for name in entry.meta if not name.startswith("__")}
    else:
        known = set(entry.meta)
    more = sorted(known - {"filename", "lineno"})
    yield "meta", ", ".join(f"{name}={_text(entry.meta[name])}" for name in more)


def _postings(postings: Any) -> str:
    parts = [
        [one.account, one.units, one.cost and str(one.cost), one.price and f"@ {_text(one.price)}"]
        for one in postings
    ]
    return "; ".join(sorted(" ".join(_text(part) for part in one if part) for one in parts))


def _text(value: Any) -> str:
    """A value as one text, whichever way it was written."""
    match value:
        case None:
            return ""
        case Amount():
            return f"{_text(value.number)} {value.currency}"
        case Decimal():
            return format(value.normalize(), "f")
        case Enum():
            return str(value.name)
        case set() | frozenset():
            return ", ".join(sorted(map(_text, value)))
        case tuple() | list():
            return ", ".join(_text(getattr(one, "value", one)) for one in value)
    return str(value)


if __name__ == "__main__":
    main(sys.argv[1])
