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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    Element,
    guarded,
    in_scope,
    origin_of,
    url_template,
)
from adwright.agent.document.finding import find_nodes, skeleton_of, state_name
from adwright.agent.drivers.protocol import (
    DriverError,
    FetchedPage,
    FetchingDriver,
    GateDecision,
    PendingRequest,
    Screen,
    ScreenDriver,
    ScreenNode,
    SeenRequest,
)
from adwright.agent.explore.describe import (
    UNNAMED,
    SeenElement,
    describe,
    page_content,
    word_effect,
)
from adwright.agent.policy.origins import SAFE_METHODS
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import content_hash
from adwright.core.journal import append_rows, read_rows, write_rows
from adwright.core.progress import progress

# --------------------------------------------------------------------------------------------------
# What an exploration has seen, page by page, in a file that the next run goes on from.
#
# A line of JSON a page, written as soon as the page was read: a run that is killed loses one page.
# A
# later line about the same page replaces the earlier one.


@dataclass(frozen=True)
class PageRecord:
    """A page, or what tapping something on a page has shown.

    url: at which it was opened; key: that of the page in the records. address: its URL when it had
    loaded, after redirects. tapped: names of elements that were tapped on it first, of the page's
    own. template, skeleton, title: as in a document. etag: of its answer; content: hash of its text
    without what changes each time.
    """

    url: str
    address: str
    template: str
    skeleton: str
    title: str
    elements: tuple[SeenElement, ...]
    tapped: tuple[str, ...] = ()
    etag: str = ""
    content: str = ""
    depth: int = 0

    @property
    def key(self) -> str:
        """What tells it from other records."""
        return " ".join((self.url, *self.tapped))


class PageRecords:
    """The records of a folder, in the order in which pages were first seen."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / "pages.jsonl"
        self._records: dict[str, PageRecord] = {}
        if self._path is not None:
            read = partial(from_jsonable, PageRecord)
            self._records = {one.key: one for one in read_rows(self._path, read)}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: str) -> bool:
        return key in self._records

    @property
    def all(self) -> Sequence[PageRecord]:
        """All of them."""
        return tuple(self._records.values())

    def add(self, record: PageRecord) -> None:
        """Keep a page, also on the disk. Raises ResourceError where that is full."""
        self._records[record.key] = record
        if self._path is not None:
            append_rows(self._path, [to_jsonable(record)], flush="system")

    def drop(self, url: str) -> None:
        """Forget a page, and what was tapped on it."""
        self._records = {key: one for key, one in self._records.items() if one.url != url}
        self.rewrite()

    def reorder(self, urls: Sequence[str]) -> None:
        """Put the pages of `urls` first, in that order, each with what was tapped on it."""
        place = {url: number for number, url in enumerate(urls)}
        last = len(place)
        kept = sorted(self._records.items(), key=lambda one: place.get(one[1].url, last))
        self._records = dict(kept)
        self.rewrite()

    def rewrite(self) -> None:
        """Write the file anew, one line a page."""
        if self._path is not None:
            write_rows(self._path, [to_jsonable(one) for one in self._records.values()])


# --------------------------------------------------------------------------------------------------
# What a page shows once something on it is tapped: which parts are worth a tap, and what is new.
#
#     new_in(shown.elements, before.elements)     # what the tap has shown
#     may_be_tried(seen)                          # unknown, but no word says that it sends
#
# Trying parts of unknown effect is for copies that may be spoilt, or pages whose gate lets nothing
# be
# sent: what tries to send something is noticed, and left alone.

_TRIED = ("generic", "button", "link", "listitem", "menuitem")
_SENDS = re.compile(
    r"\b(?:submit|save|send|ok|okay|apply|done|go|log ?in|sign ?in|confirm|order|buy|pay|book"
    r"|create|add|update|finish|generate|yes|no)\b",
    re.I,
)
_NUMBERS = re.compile(r"\[\d+\]")


def may_be_tried(seen: SeenElement) -> bool:
    """Whether a part of unknown effect, or one that only shows more, may be tapped to see what it
    shows."""
    one = seen.element
    harmless = one.effect in ("read", "unknown") and one.value_type == "none"
    is_box = one.role == "listitem" and one.effect == "unknown"
    is_part = one.role in _TRIED and one.role != "listitem"
    return harmless and not seen.href and (is_box or is_part) and not _SENDS.search(one.label)


def kind_of(seen: SeenElement) -> str:
    """What parts that stand alike have in common: where one of them sends, so do the others."""
    one = seen.element
    path = next((at.value for at in one.locators if at.kind == "xpath"), one.name)
    return f"{one.role} {_NUMBERS.sub('', path)}"


def tried_to_send(requests: tuple[SeenRequest, ...]) -> bool:
    """Whether a request was refused, or might have written."""
    return any(
        not one.decision.allowed or one.request.method not in SAFE_METHODS for one in requests
    )


def new_in(
    shown: tuple[SeenElement, ...], before: tuple[SeenElement, ...]
) -> tuple[SeenElement, ...]:
    """What tapping has shown; the rest of the page is described already."""
    known = {_what(one) for one in before}
    return tuple(one for one in shown if _what(one) not in known)


def mixed_skeleton(skeleton: str, opened: PageRecord) -> str:
    """The skeleton of what is like another part of its page: an item's menu like the rest of the
    list, a tab like another tab."""
    parts = [[one.element.name, *_what(one)] for one in opened.elements]
    return content_hash([skeleton, *opened.tapped, *parts])[: len(skeleton)]


def _what(seen: SeenElement) -> tuple[str, ...]:
    """What tells an element of a page from others: where it stands, if it has no label."""
    one = seen.element
    place = "" if one.label else next((at.value for at in one.locators if at.kind == "xpath"), "")
    return one.role, one.label, seen.href, place


# --------------------------------------------------------------------------------------------------
# A gate through which nothing can be written: GET and HEAD within one app pass, all else does not.
#
#     gate = ReadingGate(("http://127.0.0.1:8000",), sign_in=("http://127.0.0.1:8000/login/",))
#     gate.seal()             # signed in: from now on nothing is sent but GET and HEAD
#
# What it refused is counted, so that "it never wrote" is a number and no promise.

_READING = ("GET", "HEAD")
_YES = GateDecision(True)


class ReadingGate:
    """origins: of the app. sign_in: exact URLs to which a form may be sent until `seal` is called.
    refused: how often, by code."""

    def __init__(self, origins: tuple[str, ...], *, sign_in: tuple[str, ...] = ()) -> None:
        self._origins = frozenset(origins)
        self._sign_in = frozenset(sign_in)
        self.refused: Counter[str] = Counter()
        self.sent = 0

    def seal(self) -> None:
        """Nobody signs in any more."""
        self._sign_in = frozenset()

    def __call__(self, request: PendingRequest) -> GateDecision:
        decision = self._decide(request)
        if decision.allowed:
            self.sent += 1
        else:
            self.refused[decision.code] += 1
        return decision

    def _decide(self, request: PendingRequest) -> GateDecision:
        if origin_of(request.url) not in self._origins:
            return GateDecision(False, "origin", "it leaves the app")
        if request.kind in ("socket", "beacon", "popup", "download", "worker", "dialog"):
            return GateDecision(False, request.kind, "only pages are read")
        if request.method in _READING:
            return _YES
        if request.method == "POST" and request.url in self._sign_in:
            return _YES
        return GateDecision(False, "method", f"{request.method} may write")


# --------------------------------------------------------------------------------------------------
# Makes a document out of the pages that were seen: states, names, and where elements lead.
#
# Pages with one skeleton and one path are one state: forms that make and that change a thing stay
# apart though they look the same. Where more than six paths share a skeleton, their last parts are
# taken for data, and they are one state, too. An element leads to the state of the first page that
# was seen under the template of its address; a list leads where its items do.

#: So many paths with one skeleton are states of their own; more are data. Our choice.
CROWD = 6


def build_document(
    app: str, records: Sequence[PageRecord], origins: tuple[str, ...], *, version: str = "1"
) -> AppDocument:
    """The document of all records; its start is the state of the first.

    Raises DataError where no page was seen.
    """
    if not records:
        raise DataError(f"no page of {app} was seen", hint="explore it first")
    keys = state_keys(records)
    names: dict[tuple[str, str], str] = {}  # of states
    states: list[AppState] = []
    by_template: dict[str, str] = {}
    by_asked: dict[str, str] = {}  # what leads to another address by a redirect
    first: list[PageRecord] = []
    for record in records:
        key = keys[record.key]
        if key not in names:
            name = _state_name(record, set(names.values()))
            names[key] = name
            title = guarded(record.title).text
            states.append(AppState(name, record.skeleton, record.template, title))
            first.append(record)
        if not record.tapped:
            by_template.setdefault(record.template, names[key])
            by_asked.setdefault(url_template(record.url), names[key])
    elements: list[Element] = []
    for record in first:
        elements += _elements(record, names[keys[record.key]], by_asked | by_template)
    of_page = {key: names[state] for key, state in keys.items()}
    edges = _taps(records, of_page, {one.name for one in elements})
    return AppDocument(
        app, version, origins, states[0].name, tuple(states), tuple(elements), tuple(edges)
    )


def state_keys(records: Sequence[PageRecord]) -> dict[str, tuple[str, str]]:
    """What tells the state of each page from others, by the page's key: skeleton and path."""
    paths: dict[str, set[str]] = {}
    for record in records:
        paths.setdefault(record.skeleton, set()).add(_path(record))
    return {
        one.key: (one.skeleton, _path(one) if len(paths[one.skeleton]) <= CROWD else "")
        for one in records
    }


def _path(record: PageRecord) -> str:
    return record.template.partition("?")[0]


def _state_name(record: PageRecord, taken: set[str]) -> str:
    if not record.tapped:
        return state_name(record.template, taken)
    opened = record.tapped[-1].removeprefix(f"{UNNAMED}__")
    base = state_name(record.template, ())
    name, number = f"{base}_{opened}", 2
    while name in taken:
        name, number = f"{base}_{opened}_{number}", number + 1
    return name


def _elements(record: PageRecord, state: str, by_template: dict[str, str]) -> list[Element]:
    found = []
    for seen in record.elements:
        target = by_template.get(seen.leads_to) if seen.leads_to else None
        if seen.leads_to and target is None:
            # A form by GET adds its fields to the address.
            target = by_template.get(seen.leads_to.partition("?")[0])
        name = state + seen.element.name.removeprefix(UNNAMED)
        found.append(replace(seen.element, name=name, state=state, target=target))
    return found


def _taps(records: Sequence[PageRecord], names: dict[str, str], known: set[str]) -> list[AppEdge]:
    """Edges of what shows more of a page when it is tapped."""
    by_key = {one.key: one for one in records}
    found: dict[tuple[str, str], AppEdge] = {}
    for record in records:
        if not record.tapped:
            continue
        before = by_key.get(" ".join((record.url, *record.tapped[:-1])))
        if before is None or before.skeleton == record.skeleton:
            continue
        source = names[before.key]
        element = source + record.tapped[-1].removeprefix(UNNAMED)
        if element in known:
            edge = AppEdge(source, element, names[record.key])
            found.setdefault((source, element), edge)
    return list(found.values())


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
        self._shut: set[str] = set()
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
            if kind_of(seen) in self._sends or seen.element.name in self._shut:
                continue
            try:
                if dirty:
                    self._go_back_to(record)
                opened = self._tapped(seen, record, depth)
            except DriverError as error:
                self.failed[f"{record.url} {seen.element.name}"] = str(error)
                # What nobody can tap here is not waited for on every other page.
                self._shut.add(seen.element.name)
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


# --------------------------------------------------------------------------------------------------
# Explore anew what has changed in an app, and nothing else.

# --------------------------------------------------------------------------------------------------
# Brings an exploration up to date: asks each page whether it has changed, and reads it if so.
#
#     found = refresh(driver, records, bounds)
#     found.changed                       # URLs whose pages were read anew
#
# Asked is the first page of each state, by one GET without a browser's work, with the ETag of the
# last answer where there was one. An answer 304, or one with the same text but for tokens that are
# new each time, is no change. A page that is gone is forgotten; links to pages that are new are
# followed, within the bounds.


@dataclass(frozen=True)
class Refreshed:
    """asked: so many pages. changed: URLs read anew; gone: URLs that no longer answer; explored:
    what reading them has found, new pages among it."""

    asked: int
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    explored: Explored


def refresh(
    driver: FetchingDriver,
    records: PageRecords,
    bounds: ExploreBounds,
    *,
    clock: Clock | None = None,
) -> Refreshed:
    """Bring `records` up to date. Raises what `explore` raises."""
    pages = [one for one in records.all if not one.tapped]
    changed: list[str] = []
    gone: list[str] = []
    # The first page of each state is the one that a document describes.
    keys = state_keys(records.all)
    asked = list({keys[one.key]: one for one in reversed(pages)}.values())
    for record in reversed(asked):
        state = _state_asked(driver, record)
        if state == "gone":
            gone.append(record.url)
        elif state == "changed":
            changed.append(record.url)
    for url in (*changed, *gone):
        records.drop(url)
    explored = explore(driver, records, bounds, clock=clock, first=tuple(changed))
    records.reorder([one.url for one in pages])
    return Refreshed(len(asked), tuple(changed), tuple(gone), explored)


def _state_asked(driver: FetchingDriver, record: PageRecord) -> str:
    headers = {"If-None-Match": record.etag} if record.etag else {}
    try:
        answer = driver.fetch(record.url, headers)
    except DriverError:
        return "gone"
    if answer.status == 304:
        return "same"
    if answer.status >= 400:
        return "gone"
    return "same" if page_content(answer.body) == record.content else "changed"
