"""What an odd file must come to: read right, or refused by its name, soon and in little memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

from adwright.core.errors import DataError
from adwright.data.sources.log import describe, open_log
from adwright.data.sources.tables import read_items
from tests.attacks.attack import Attack

#: How many rows are read, or words of the refusal.
Wanted = int | tuple[str, ...]
#: What is written to the file, or what makes it.
Content = bytes | str | Callable[[Path], None]
#: What reading or refusing may take: seconds, and bytes beyond what the process has.
SECONDS, MEMORY = 20.0, 1 << 30


def judged(read: Callable[[], int], path: Path, wanted: Wanted) -> dict[str, float]:
    """Read, and hold what came of it against what must."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    refused, found = None, 0
    try:
        found = read()
    except DataError as error:
        refused = error
    seconds = time.monotonic() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    said = str(refused or f"{found} rows were read")
    if refused is not None:
        assert len(said) < 3000, f"a refusal of {len(said)} characters"
        assert path.name in refused.file, f"the file is not named: {said}"
        assert refused.hint, said
    if isinstance(wanted, int):
        assert refused is None, said
        assert found == wanted, said
    else:
        missing = [word for word in wanted if refused is None or word not in said]
        assert not missing, f"{missing} not in: {said}"
    assert seconds < SECONDS, f"{seconds:.1f} s"
    assert grown < MEMORY, f"{grown / 1e6:.0f} MB"
    return {"seconds": round(seconds, 3), "mb": round(grown / 1e6, 1)}


def events_of(path: Path) -> int:
    """The events of a log, after all of it was gone through."""
    return describe(open_log(path)).events


def items_of(path: Path) -> int:
    """The rows of a table of items."""
    return read_items(path).height


def odd_file(
    label: str,
    file: str,
    content: Content,
    wanted: Wanted,
    read: Callable[[Path], int] = events_of,
    *,
    quick: bool = True,
) -> Attack:
    """Write `file` and read it; `wanted` says what must come of it."""

    def run(scratch: Path) -> dict[str, float]:
        path = scratch / label.replace("/", "-")[:80].encode("ascii", "replace").decode() / file
        path.parent.mkdir()
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return judged(lambda: read(path), path, wanted)

    return Attack(label, run, quick=quick, seconds=60.0)
