"""The state of an application of another maker, as rows: from its database and its files.

    before = tables_of(app)

A row keeps its number as long as its name: the path of a page, the title of a tiddler, the folder
of a collection, the date and account of an entry. Clocks and counters are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from benchmarks.agent.apps import strangers
from benchmarks.agent.apps.packages import environment_with, packages
from benchmarks.agent.apps.strangers import DOORS, Form, Stranger
from benchmarks.agent.tasks._end_state import Row, Tables, rows_by_table

#: A table, a name in it that stays, and the row.
Named: TypeAlias = tuple[str, str, Row]
_LEDGER = Path(strangers.__file__).with_name("_ledger_rows.py")
_CLOCKS = frozenset(("created", "modified", "creator", "modifier", "revision", "bag"))
#: Titles of TiddlyWiki that change by looking.
_LOOKS = ("$:/StoryList", "$:/HistoryList")
_PROPERTIES = ("tag", "displayname", "description", "color", "components", "source")


def tables_of(one: Stranger) -> Tables:
    """Its rows by table: what its door says of its database and its files."""
    door = DOORS[one.name]
    time.sleep(door.settles)
    found = {name: dict(rows) for name, rows in _database(one.folder, door.database).items()}
    for files in door.files:
        paths = [path for path in one.folder.glob(files.pattern) if ".git" not in path.parts]
        for table, key, row in _FORMS[files.form](files.table, one.folder, sorted(paths)):
            found.setdefault(table, {})[crc32(key.encode())] = row
    return found


def _database(folder: Path, name: str) -> Tables:
    return rows_by_table(folder / name) if name else {}


def _texts(table: str, folder: Path, paths: Iterable[Path]) -> Iterator[Named]:
    """Each file's path, below the first folder, and text."""
    for path in paths:
        name = path.relative_to(folder).as_posix().partition("/")[2]
        yield table, name, {"path": name, "text": path.read_text()}


def _tiddlers(table: str, _: Path, paths: Iterable[Path]) -> Iterator[Named]:
    """Tiddlers, and as tables of their own what changes by looking, and the settings."""
    for path in paths:
        head, _blank, text = path.read_text().partition("\n\n")
        fields = dict(line.partition(": ")[::2] for line in head.splitlines())
        title = fields.pop("title", "").strip()
        kind = fields.pop("type", "")
        tags = sorted(_titles(fields.pop("tags", "")))
        more = sorted(f"{name}={fields[name].strip()}" for name in fields.keys() - _CLOCKS)
        row = {
            "title": title,
            "text": ", ".join(_titles(text)) if title == "$:/DefaultTiddlers" else text.strip(),
            "tags": ", ".join(tags),
            "type": kind.removesuffix("text/vnd.tiddlywiki"),
            "fields": ", ".join(more),
        }
        where = "looks" if title in _LOOKS else "settings" if title.startswith("$:/") else table
        yield where, title, row


def _titles(text: str) -> list[str]:
    """The titles of a list as TiddlyWiki writes it: `one [[and another]]`."""
    return [one or other for one, other in re.findall(r"\[\[(.*?)\]\]|(\S+)", text)]


def _properties(table: str, _: Path, paths: Iterable[Path]) -> Iterator[Named]:
    """Collections of Radicale, of which an address book's properties are called as a calendar's."""
    for path in paths:
        known: dict[str, str] = {}
        for name, value in json.loads(path.read_text()).items():
            known[re.sub(r"^.*[:}](calendar-|addressbook-)?", "", name)] = value
        parts = known.pop("supported-calendar-component-set", "")
        known["components"] = ", ".join(sorted(parts.split(","))) if parts else ""
        known["color"] = known.get("color", "")[:7]
        row: dict[str, str] = {"folder": path.parent.name}
        row |= {name: known.pop(name, "") for name in _PROPERTIES}
        yield table, path.parent.name, row | {"more": json.dumps(known, sort_keys=True)}


def _ledger(_: str, __: Path, paths: Iterable[Path]) -> Iterator[Named]:
    """Entries as Beancount's own loader reads them, in a process that has its packages."""
    for path in paths:
        done = subprocess.run(
            [sys.executable, str(_LEDGER), str(path)],
            env=environment_with(packages("fava")),
            capture_output=True,
            check=True,
        )
        told: dict[str, list[tuple[str, dict[str, Any]]]] = json.loads(done.stdout)
        for table, rows in told.items():
            yield from ((table, name, row) for name, row in rows)


_FORMS: Mapping[Form, Callable[[str, Path, Iterable[Path]], Iterator[Named]]] = {
    "text": _texts,
    "tiddler": _tiddlers,
    "properties": _properties,
    "ledger": _ledger,
}
