"""Explores an app by reading: opens pages within bounds, looks into menus, and sends no form.

    gate = ReadingGate((origin,), sign_in=(f"{origin}/login/",))
    with open_browser() as browser, browser.driver(gate) as driver:
        sign_in(driver, f"{origin}/login/", {"username": user, "password": password})
        gate.seal()
        found = explore(driver, PageRecords(folder), ExploreBounds(start=f"{origin}/dashboard/"))
    document = build_document("Mill Lane", found.records.all, (origin,))

It goes breadth first. Of pages with one URL template a few are opened, and of a list's links the
first; where more than six paths below one had one skeleton, no more of them. Menus that a page
keeps closed are opened, one after the other, and closed by loading the page anew. Links that sign
out are never followed; those whose words or address speak of deleting, paying or sending only where
the bounds say so.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urldefrag, urlsplit

from adwright.agent.document.finding import find_nodes
from adwright.agent.document.groups import skeleton_of
from adwright.agent.document.urls import in_scope, origin_of, url_template
from adwright.agent.drivers.fetched import FetchedPage, FetchingDriver
from adwright.agent.drivers.protocol import DriverError, Screen, ScreenDriver, ScreenNode
from adwright.agent.explore.building import CROWD
from adwright.agent.explore.content import page_content
from adwright.agent.explore.describe import SeenElement, describe
from adwright.agent.explore.effects import word_effect
from adwright.agent.explore.records import PageRecord, PageRecords
from adwright.agent.explore.views import (
    kind_of,
    may_be_tried,
    mixed_skeleton,
    new_in,
    tried_to_send,
)
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError
from adwright.core.progress import progress

__all__ = ["ExploreBounds", "Explored", "explore", "sign_in"]

#: So many pages of one template that cannot be read are enough.
_MOST_FAILURES = 3


@settings
class ExploreBounds:
    """start: where it begins. paths: only below these; by default all of the origin. pages: so many
    in all. a_template: so many of one URL template. depth: so many links from the start. menus: so
    many are opened on a page. tries: so many taps deep, parts of unknown effect are tried as well;
    of copies that may be spoilt alone. cautious: leave out links whose words or address speak of
    deleting, paying or sending, although GET ought to change nothing. seconds: then it stops."""

    start: str
    paths: tuple[str, ...] = ("/",)
    pages: int = 150
    a_template: int = 1
    depth: int = 8
    menus: int = 12
    tries: int = 0
    cautious: bool = True
    seconds: float = 1800.0

    def __post_init__(self) -> None:
        if not origin_of(self.start):
            raise ConfigError(
                "the start is no page of a server", where=self.start[:200], hint="use http or https"
            )


@dataclass(frozen=True)
class Explored:
    """records: of all pages. failed: URLs that could not be read, and why. left: addresses within
    the scope that the bounds left out."""

    records: PageRecords
    failed: Mapping[str, str]
    left: int


def explore(
    driver: FetchingDriver,
    records: PageRecords,
    bounds: ExploreBounds,
    *,
    clock: Clock | None = None,
    first: tuple[str, ...] = (),
) -> Explored:
    """Read the app's pages into `records`; what stands there already is not read again.

    first: URLs that are read before all others, whatever the bounds say of their templates.
    A page that cannot be read is noted, and the others go on.
    """
    walk = _Exploration(driver, records, bounds, clock or SystemClock(), first)
    with progress(None, "exploring", "pages") as bar:
        for _ in walk.run():
            bar.advance()
    return Explored(records, walk.failed, len(walk.left))


def sign_in(driver: ScreenDriver, url: str, values: Mapping[str, str]) -> None:
    """Open the page at `url`, fill the fields named in `values` and send their form.

    values: by the name of a field, or by its label. Raises DataError where a field or the button
    is not there. The gate must let the form through.
    """
    driver.open(url)
    screen = driver.observe()
    form = ""
    for name, value in values.items():
        fields = [one for one in screen.nodes if name in (one.facts.get("name"), one.name)]
        if len(fields) != 1:
            raise DataError(
                f"the page has {len(fields)} fields called {name!r}", file=url, hint="name another"
            )
        driver.set_text(fields[0], value)
        form = fields[0].facts.get("form", form)
    buttons = [one for one in screen.nodes if _sends(one) and one.facts.get("form") == form]
    if not buttons:
        raise DataError("the form has no button that sends it", file=url)
    driver.tap(buttons[0])
    driver.observe()


def _sends(node: ScreenNode) -> bool:
    kind = node.facts.get("type", "submit" if node.facts.get("tag") == "button" else "")
    return node.role == "button" and kind in ("submit", "image")


class _Exploration:
    def __init__(
        self,
        driver: FetchingDriver,
        records: PageRecords,
        bounds: ExploreBounds,
        clock: Clock,
        first: tuple[str, ...],
    ) -> None:
        self._driver, self._records, self._bounds = driver, records, bounds
        self._ends, self._clock = clock.monotonic() + bounds.seconds, clock
        self._origins = (origin_of(bounds.start),)
        begin = [(url, 0) for url in (*first, bounds.start)]
        self._queue: deque[tuple[str, int]] = deque(begin)
        self._first = frozenset(first)
        self._known: set[str] = {bounds.start, *first}
        self._opened: Counter[str] = Counter()
        self._same: Counter[str] = Counter()
        self._alike: Counter[tuple[str, str]] = Counter()
        self._crowds: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._skeletons: set[str] = set()
        self._menus: set[str] = set()
        self._sends: set[str] = set()
        self._ways: dict[str, tuple[SeenElement, ...]] = {}
        self.failed: dict[str, str] = {}
        self.left: set[str] = set()
        for record in records.all:
            if not record.tapped:
                self._count(record, is_new=record.skeleton not in self._skeletons)
            self._skeletons.add(record.skeleton)
            for name in record.tapped:
                self._menus |= {name, _mark(name, record, own=True)}

    def run(self) -> Iterator[PageRecord]:
        for record in self._records.all:
            self._known.add(record.url)
            self._queue_links(record.elements, record.depth)
        while self._queue and len(self._records) < self._bounds.pages:
            url, depth = self._queue.popleft()
            if url in self._records:
                continue
            if self._clock.monotonic() > self._ends:
                self.left.add(url)
                break
            if url not in self._first and self._seen_enough(url):
                self.left.add(url)
                continue
            try:
                yield from self._page(url, depth)
            except DriverError as error:
                self._fail(url, str(error))
        self.left |= {url for url, _ in self._queue}

    def _page(self, url: str, depth: int) -> Iterator[PageRecord]:
        answer = self._driver.fetch(url)
        kind = answer.headers.get("content-type", "")
        if answer.status >= 400 or "html" not in kind:
            return self._fail(url, f"status {answer.status}, {kind or 'no content type'}")
        if not self._takes(answer.url):
            return self._fail(url, "it leads out of the scope")
        self._driver.open(url)
        screen = self._driver.observe()
        record = self._record(url, depth, screen, (), answer)
        self._count(record, is_new=record.skeleton not in self._skeletons)
        self._skeletons.add(record.skeleton)
        self._records.add(record)
        yield record
        self._queue_links(record.elements, depth)
        yield from self._open_menus(record, depth)

    def _fail(self, url: str, why: str) -> None:
        self.failed[url] = why
        self._refused[url_template(url)] += 1

    def _seen_enough(self, url: str) -> bool:
        """Of one template a few are enough. Of a page's other views, such as its sortings, one that
        was no new state is enough, but as long as each is one, all are read."""
        template = url_template(url)
        if self._refused[template] >= _MOST_FAILURES:
            return True
        path, _, query = template.partition("?")
        if self._crowds[_above(path)] > CROWD:
            return True
        if query:
            return self._opened[path] > 0 and self._same[path] > 0
        return self._opened[template] >= self._bounds.a_template

    def _count(self, record: PageRecord, *, is_new: bool) -> None:
        path, _, query = url_template(record.url).partition("?")
        self._opened[path] += 1
        if not query:
            alike = (_above(path), record.skeleton)
            self._alike[alike] += 1
            self._crowds[alike[0]] = max(self._crowds[alike[0]], self._alike[alike])
        self._same[path] += int(bool(query) and not is_new)

    def _open_menus(self, record: PageRecord, depth: int) -> Iterator[PageRecord]:
        tries = len(record.tapped) < self._bounds.tries
        closed = {
            _menu_of(one, record): one
            for one in record.elements
            if one.opens or (tries and may_be_tried(one))
        }
        new = [mark for mark in closed if mark not in self._menus]
        dirty = bool(record.tapped)
        for mark in new[: self._bounds.menus]:
            seen = closed[mark]
            self._menus.add(mark)
            if kind_of(seen) in self._sends:
                continue
            try:
                if dirty:
                    self._go_back_to(record)
                opened = self._tapped(seen, record, depth)
            except DriverError as error:
                self.failed[f"{record.url} {seen.element.name}"] = str(error)
                dirty = True
                continue
            dirty = True
            if opened is not None:
                self._records.add(opened)
                self._queue_links(opened.elements, depth)
                yield opened
                if opened.tapped and len(opened.tapped) <= self._bounds.tries:
                    yield from self._open_menus(opened, depth)

    def _go_back_to(self, record: PageRecord) -> None:
        """Load a page anew, and show again what was tapped on it."""
        self._driver.open(record.url)
        for seen in self._ways.get(record.key, ()):
            self._driver.tap(self._first_node(seen))

    def _first_node(self, seen: SeenElement) -> ScreenNode:
        nodes = find_nodes(self._driver.observe(), seen.element)
        if not nodes:
            raise DriverError("it is not there any more", where=seen.element.name)
        return nodes[0]

    def _tapped(self, seen: SeenElement, record: PageRecord, depth: int) -> PageRecord | None:
        """What tapping a part shows; None where that is nothing new, or another page, or where it
        tried to send something."""
        node, screen = self._first_node(seen), self._driver.observe()
        self._driver.requests()
        self._driver.tap(node)
        shown = self._driver.observe()
        if not seen.opens and tried_to_send(self._driver.requests()):
            self._sends.add(kind_of(seen))
            return None
        if urldefrag(shown.url)[0] != urldefrag(screen.url)[0]:
            return None
        tapped = (*record.tapped, seen.element.name)
        opened = self._record(record.url, depth, shown, tapped, None)
        opened = replace(opened, elements=new_in(opened.elements, record.elements))
        if not opened.elements:
            return None
        before = [one for one in self._records.all if one.url == record.url]
        if any(one.skeleton == opened.skeleton for one in before):
            opened = replace(opened, skeleton=mixed_skeleton(record.skeleton, opened))
        self._ways[opened.key] = (*self._ways.get(record.key, ()), seen)
        return opened

    def _record(
        self,
        url: str,
        depth: int,
        screen: Screen,
        tapped: tuple[str, ...],
        answer: FetchedPage | None,
    ) -> PageRecord:
        return PageRecord(
            url=url,
            address=screen.url,
            template=url_template(screen.url),
            skeleton=skeleton_of(screen),
            title=screen.title,
            elements=describe(screen),
            tapped=tapped,
            etag="" if answer is None else answer.headers.get("etag", ""),
            content="" if answer is None else page_content(answer.body),
            depth=depth,
        )

    def _queue_links(self, elements: tuple[SeenElement, ...], depth: int) -> None:
        if depth >= self._bounds.depth:
            return
        for seen in elements:
            url = urldefrag(seen.href)[0]
            if not url or url in self._known or seen.leaves or not self._takes(url):
                continue
            self._known.add(url)
            if self._bounds.cautious and word_effect(_words_of(seen, url)):
                self.left.add(url)
                continue
            self._queue.append((url, depth + 1))

    def _takes(self, url: str) -> bool:
        return in_scope(url, self._origins, self._bounds.paths)


def _menu_of(seen: SeenElement, record: PageRecord) -> str:
    own = seen.element.many or seen.element.role != "button"
    return _mark(seen.element.name, record, own=own)


def _mark(name: str, record: PageRecord, *, own: bool) -> str:
    """What tells a menu that was opened. own: it is the page's, as those of items and tabs are;
    others, as in the head of all pages, are taken for the same everywhere."""
    return f"{record.template} {name}" if own else name


def _above(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] + "/"


def _words_of(seen: SeenElement, url: str) -> str:
    path = re.sub(r"[^a-zA-Z]+", " ", urlsplit(url).path + " " + urlsplit(url).query)
    return f"{seen.element.label} {path}"
