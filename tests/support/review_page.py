"""A journal of drafts, its checks and its pages, for the tests of the console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from adwright.authoring.checks.limits import Finding
from adwright.authoring.tasks import Product
from adwright.authoring.writer.drafts import Draft, Drafts
from adwright.console.app import create_console_app
from adwright.console.review import Checked, RoomTaken
from adwright.console.shell import ConsoleConfig
from tests.support.service.small_shop import Client, running

TOKEN = "token-of-the-tests"
_BAD = re.compile(r"\b(best|free|guaranteed)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


class WordChecks:
    """Finds three words and, where the product has none, numbers; a text has room for 60
    characters."""

    def check(self, draft: Draft, text: str) -> Checked:
        found = [
            Finding("policy", *one.span(), "error", f"{one.group()!r} is a claim", "leave it out")
            for one in _BAD.finditer(text)
        ]
        found += [
            Finding("grounding", *one.span(), "warning", f"{one.group()} is in no fact")
            for one in _NUMBER.finditer(text)
        ]
        return Checked(tuple(found), (RoomTaken("Characters", len(text), 60),))


def write(drafts: Drafts, product: str, text: str, slot: str = "headline", **more: Any) -> None:
    """Write a draft with what the checks find in it."""
    draft = Draft(product, slot, more.pop("variant", 0), text, **more)
    drafts.write([Draft(**{**vars(draft), "findings": WordChecks().check(draft, text).findings})])


def fill(drafts: Drafts) -> None:
    """Four drafts of three products: with an error, a warning, nothing."""
    tea = Product(
        "tea-1",
        "Mill Lane Assam tea, 80 bags",
        description="A strong black tea in 80 bags.",
        brand="Mill Lane",
        price="3.49",
        currency="GBP",
        attributes=(("colour", "black"),),
    )
    mug = Product("mug/2", "Blue enamel mug", description="A mug of enamel.")
    drafts.note_products([(tea, "h1"), (mug, "h2")])
    write(drafts, "tea-1", "The best Assam tea, 80 bags of it")
    write(drafts, "tea-1", "A strong black tea for the morning.", "description")
    write(drafts, "mug/2", "Blue enamel mug, 350 ml", before="Blue steel mug, 350 ml")
    write(drafts, "lamp", "A lamp for reading")


@contextmanager
def drafts_of(folder: Path) -> Iterator[Drafts]:
    """The journal of a folder, with the four drafts."""
    with closing(Drafts.open(folder)) as drafts:
        fill(drafts)
        yield drafts


@contextmanager
def open_page(drafts: Drafts, pairs: Any = None, **settings: Any) -> Iterator[Client]:
    """A client of the pages over a journal."""
    config = ConsoleConfig(**{"reviewer": "ann", "allowed_hosts": ("test",), **settings})
    app = create_console_app(config, drafts, WordChecks(), pairs=pairs, token=TOKEN)
    with running(app) as client:
        yield client


def post(client: Client, path: str, headers: Any = None, **fields: Any) -> httpx.Response:
    """Send a form of our own page, with its token."""
    data = {"token": TOKEN, **fields}
    answer: httpx.Response = client.post(path, data=data, headers=headers or {})
    return answer


def seen_of(page: httpx.Response) -> str:
    """The version of the draft that a page shows."""
    found = re.search(r'name="seen" value="(\d+)"', page.text)
    assert found is not None
    return found.group(1)
