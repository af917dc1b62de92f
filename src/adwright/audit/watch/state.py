"""What a watch remembers of a catalogue: its facts, its texts and its ranks, in one JSON file.

    state = read_state("watch/kettles.json")       # None the first time
    write_state(state_of(shop, ranks), "watch/kettles.json")

The file is written whole or not at all. It holds what sellers wrote, so that the next look can rank
with the text of before; keep it where the catalogue itself may be kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.catalogue.listing import Fact
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import FileUnreadableError
from adwright.core.regular import memory_bytes, read_regular

STATE_FORMAT = "adwright-watch/1"


@dataclass(frozen=True)
class KnownListing:
    """A product as it was. rank: mean over orders, None where it was not ranked."""

    attributes: Mapping[str, Fact]
    texts: Mapping[str, str]
    merchant: str
    rank: float | None


@dataclass(frozen=True)
class WatchState:
    """catalogue, target: whose look it was, and by what it was ranked. looks: made so far.
    listings: by name."""

    catalogue: str
    target: str
    looks: int
    listings: Mapping[str, KnownListing]


def state_of(
    shop: ShopCatalogue, ranks: Sequence[float] | None, *, target: str, looks: int
) -> WatchState:
    """The state after a look. ranks: mean of each listing, None where nothing was ranked."""
    known = {
        one.name: KnownListing(
            dict(one.attributes),
            dict(one.texts),
            one.merchant,
            None if ranks is None else float(ranks[row]),
        )
        for row, one in enumerate(shop.listings)
    }
    return WatchState(shop.name, target, looks, known)


def write_state(state: WatchState, path: str | Path) -> None:
    """Write the file, whole or not at all. Raises ResourceError as `atomic_write_text`."""
    text = json.dumps({"format": STATE_FORMAT, **asdict(state)}, indent=1, ensure_ascii=True)
    atomic_write_text(path, text + "\n")


def read_state(path: str | Path) -> WatchState | None:
    """The state of a file; None where there is none. Raises FileUnreadableError for a file that is
    no state of a watch."""
    try:
        data: dict[str, Any] = json.loads(read_regular(path, most=memory_bytes()))
        if data["format"] != STATE_FORMAT:
            raise ValueError(f"its format is not {STATE_FORMAT}")
        known = {name: _listing(one) for name, one in data["listings"].items()}
        return WatchState(str(data["catalogue"]), str(data["target"]), int(data["looks"]), known)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileUnreadableError(
            f"this is no state of a watch: {error}"[:300],
            file=str(path),
            hint="move it away to begin anew",
        ) from error


def _listing(data: Mapping[str, Any]) -> KnownListing:
    rank = data["rank"]
    texts = {name: str(text) for name, text in data["texts"].items()}
    return KnownListing(
        dict(data["attributes"]),
        texts,
        str(data["merchant"]),
        None if rank is None else float(rank),
    )
