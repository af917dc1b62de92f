"""A chat model behind an endpoint that believes what sellers write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adwright.audit.report.trials import SellerText, write_texts
from tests.support.audit.shops import kettles
from tests.support.chat_server import ChatServer, chatting


def _ranked(content: str) -> str:
    """By how often a text says best, then by rating."""
    lines = [json.loads(line) for line in content.splitlines() if line.startswith("{")]
    lines.sort(key=lambda one: (-one["Ideal For"].count("best"), -one["Rating"]))
    return "\n".join(f"{at}. {one['Name']}" for at, one in enumerate(lines, start=1))


@contextmanager
def gullible_chat() -> Iterator[tuple[str, ChatServer]]:
    """(URL, server), while the block runs."""
    with chatting(_ranked) as found:
        yield found


def kettle_files(folder: Path, *texts: SellerText) -> tuple[Path, Path]:
    """The kettles as kettles.jsonl, and texts as texts.jsonl."""
    shop = folder / "kettles.jsonl"
    shop.write_text("".join(f"{one.shown()}\n" for one in kettles().listings), "utf-8")
    write_texts(folder / "texts.jsonl", texts)
    return shop, folder / "texts.jsonl"
