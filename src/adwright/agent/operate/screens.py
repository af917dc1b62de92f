"""Opens screens of an app for runs: names looked up and checked, signed in, behind the run's gate.

    with open_screens(policy, environment=os.environ) as open_driver:
        run_on_screen(checked, document, open_driver, ...)

Before the browser starts, the hosts of the policy are looked up. One whose name leads to a private
address is refused unless the policy says that it may, and the browser's way out connects to the
address that was checked: no later answer of a name server leads it elsewhere.

Signing in, where the policy says how, happens on each screen before the run's gate takes over, also
in a dry run. Until then nothing may be sent but reading, and the form to its one address.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element, origin_of
from adwright.agent.document.text_format import (
    DocumentChange,
    document_changes,
    next_version,
    read_document,
    write_document,
)
from adwright.agent.drivers.chromium import BrowserSettings, DriverSettings, open_browser
from adwright.agent.drivers.protocol import (
    DriverError,
    FetchingDriver,
    GateDecision,
    PendingRequest,
    RequestGate,
)
from adwright.agent.explore.explorer import (
    ExploreBounds,
    Explored,
    PageRecords,
    ReadingGate,
    build_document,
    explore,
    refresh,
    sign_in,
)
from adwright.agent.operate.policy_file import AgentPolicy, SignInEntry
from adwright.agent.policy.origins import (
    SAFE_METHODS,
    OriginRules,
    PolicyRefusalError,
    address_of,
    check_addresses,
)
from adwright.core.clock import Clock
from adwright.core.errors import ConfigError, DataError, ResourceError
from adwright.core.hashing import content_hash

#: Opens a screen that can also read pages without showing them.
OpenFetching: TypeAlias = Callable[[RequestGate], FetchingDriver]
#: The addresses to which a name leads. Raises OSError where it leads nowhere.
LookUp: TypeAlias = Callable[[str], Sequence[str]]


def look_up(host: str) -> tuple[str, ...]:
    """What this machine's resolver says, IPv4 first."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    ordered = sorted(found, key=lambda one: one[0] != socket.AF_INET)
    return tuple(dict.fromkeys(str(one[4][0]) for one in ordered))


def checked_hosts(rules: OriginRules, find: LookUp = look_up) -> dict[str, str]:
    """The hosts of the rules, each with the one address that may be connected to; a host that is an
    address has itself.

    Raises PolicyRefusalError where a name leads to a private address, ResourceError where it leads
    nowhere.
    """
    hosts: dict[str, str] = {}
    for one in (*rules.origins, *rules.resources):
        host = urlsplit(one).hostname or ""
        if host in hosts:
            continue
        if address_of(host) is not None:
            hosts[host] = host
            continue
        try:
            addresses = list(find(host))
        except OSError as error:
            raise ResourceError(
                f"the host {host} is not found: {error}",
                where=one,
                hint="check the name, and that the network is there",
            ) from error
        decision = check_addresses(host, addresses, rules)
        if not decision.allowed:
            raise PolicyRefusalError(
                decision.code,
                decision.reason,
                hint=f"where that is meant, add {host!r} to reach.private of the policy",
            )
        hosts[host] = addresses[0]
    return hosts


@contextmanager
def open_screens(
    policy: AgentPolicy,
    *,
    environment: Mapping[str, str],
    find: LookUp = look_up,
    settings: DriverSettings | None = None,
    clock: Clock | None = None,
) -> Iterator[OpenFetching]:
    """Chromium until the block ends, and what opens a signed-in screen of it for each run.

    Raises what `checked_hosts` and `open_browser` raise; ConfigError where a variable of the
    sign-in is not set.
    """
    hosts = checked_hosts(policy.reach, find)
    if policy.sign_in is not None:
        policy.sign_in.values(environment)
    plain = tuple(host for host, address in hosts.items() if host == address)
    pinned = {host: address for host, address in hosts.items() if host != address}
    browser_settings = BrowserSettings(hosts=plain, addresses=pinned)
    with open_browser(browser_settings, clock=clock) as browser, ExitStack() as stack:

        def opened(gate: RequestGate) -> FetchingDriver:
            def driver(other: RequestGate) -> FetchingDriver:
                return stack.enter_context(browser.driver(other, settings))

            return signed_in(driver, gate, policy, environment)

        yield opened


class SignInGate:
    """Decides for a sign-in until `seal` is called, and from then on lets the run's gate decide."""

    def __init__(self, entry: SignInEntry, rules: OriginRules, gate: RequestGate) -> None:
        origins = tuple(origin_of(one) for one in rules.origins)
        self._reading = ReadingGate(origins, sign_in=(entry.post or entry.url,))
        self._gate = gate
        self._sealed = False

    def seal(self) -> None:
        """Somebody is signed in."""
        self._sealed = True

    def __call__(self, request: PendingRequest) -> GateDecision:
        return self._gate(request) if self._sealed else self._reading(request)


def signed_in(
    open_driver: OpenFetching,
    gate: RequestGate,
    policy: AgentPolicy,
    environment: Mapping[str, str],
) -> FetchingDriver:
    """A screen behind `gate`, signed in where the policy says how.

    Raises DriverError where the app does not let one in; ConfigError for a variable that is not
    set.
    """
    entry = policy.sign_in
    if entry is None:
        return open_driver(gate)
    values = entry.values(environment)
    own = SignInGate(entry, policy.reach, gate)
    driver = open_driver(own)
    try:
        sign_in(driver, entry.url, values)
        screen = driver.observe()
        path = urlsplit(screen.url).path
        if path == urlsplit(entry.url).path and any(one.secret for one in screen.nodes):
            raise DriverError(
                "the app did not let us in",
                where=entry.url,
                hint=f"check what stands in {', '.join(entry.fields.values())}",
            )
        driver.requests()  # none of the run's
    except DataError as error:
        driver.close()
        raise DriverError(f"signing in: {error.what}", where=entry.url, hint=error.hint) from error
    except BaseException:
        driver.close()
        raise
    own.seal()
    return driver


# --------------------------------------------------------------------------------------------------
# Brings together what a person has written into a document and what a new exploration has seen.
#
#     merged = merge_documents(base, edited, built)
#     merged.document
#     merged.kept, merged.lost         # sentences: edits that stand, and those that no longer can
#
# `base` is what the exploration before had built, `edited` the file as it stands now: what differs
# between the two is a person's edit, and stays, whatever the app says by now. All else is taken
# from `built`. Parts are known by their names, so an element that a person has renamed is one of
# its own from then on, and no longer refreshed.

Part = TypeVar("Part", AppState, Element)


@dataclass(frozen=True)
class MergedDocument:
    """kept: edits that stand. lost: edits of parts that the app no longer has."""

    document: AppDocument
    kept: tuple[str, ...]
    lost: tuple[str, ...]


def merge_documents(base: AppDocument, edited: AppDocument, built: AppDocument) -> MergedDocument:
    """The document with a person's edits, in the version of `built`."""
    kept: list[str] = []
    lost: list[str] = []
    states = _parts(base.states, edited.states, built.states, kept, lost)
    names = {one.name for one in states}
    elements = _parts(base.elements, edited.elements, built.elements, kept, lost)
    own = edited.by_name.keys() - base.by_name.keys()
    gone = [one for one in elements if one.state not in names and one.name in own]
    lost += [f"element {one.name}: its state {one.state} is gone" for one in gone]
    found = tuple(
        one if one.target in names else replace(one, target=None)
        for one in elements
        if one.state in names
    )
    edges = _edges(base.edges, edited.edges, built.edges)
    known = {one.name for one in found}
    start = edited.start if edited.start != base.start and edited.start in names else built.start
    document = AppDocument(
        built.app if edited.app == base.app else edited.app,
        built.version,
        built.origins if edited.origins == base.origins else edited.origins,
        start if start in names else states[0].name,
        tuple(states),
        found,
        tuple(one for one in edges if _holds(one, names, known)),
    )
    return MergedDocument(document, tuple(kept), tuple(lost))


def _parts(
    base: Sequence[Part],
    edited: Sequence[Part],
    built: Sequence[Part],
    kept: list[str],
    lost: list[str],
) -> list[Part]:
    was, mine, now = _named(base), _named(edited), _named(built)
    kind = "state" if any(isinstance(one, AppState) for one in (*base, *edited)) else "element"
    found: list[Part] = []
    for name, new in now.items():
        if name in was and name not in mine:
            kept.append(f"{kind} {name} stays left out")
        elif name in mine:
            found.append(_merged(was.get(name), mine[name], new, f"{kind} {name}", kept))
        else:
            found.append(new)
    for name, own in mine.items():
        if name in now:
            continue
        if name not in was:
            kept.append(f"{kind} {name}, which is yours")
            found.append(own)
        elif own != was[name]:
            lost.append(f"{kind} {name}: the app no longer has it")
    return found


def _merged(was: Part | None, mine: Part, new: Part, said: str, kept: list[str]) -> Part:
    edits: dict[str, Any] = {}
    for one in fields(mine):
        own = getattr(mine, one.name)
        if (was is None or own != getattr(was, one.name)) and own != getattr(new, one.name):
            edits[one.name] = own
            kept.append(f"{said}: {one.name} is yours")
    return replace(new, **edits)


def _named(parts: Sequence[Part]) -> Mapping[str, Part]:
    return {one.name: one for one in parts}


def _edges(
    base: Sequence[AppEdge], edited: Sequence[AppEdge], built: Sequence[AppEdge]
) -> list[AppEdge]:
    removed = [one for one in base if one not in edited]
    added = [one for one in edited if one not in base and one not in built]
    return [*(one for one in built if one not in removed), *added]


def _holds(edge: AppEdge, states: set[str], elements: set[str]) -> bool:
    ends = {edge.source, edge.target} <= states
    return ends and {edge.element, *edge.needs} <= elements


# --------------------------------------------------------------------------------------------------
# Makes the document of an app, and brings it up to date without losing what a person wrote in it.
#
#     found = explore_app(open_driver, "shop", bounds, folder=Path("shop.records"), document=None)
#     keep_explored(found, Path("shop.txt"), Path("shop.records"))
#
# The records of a folder are what later explorations go on from: pages that have not changed are
# not read again. Beside them stands what was built each time, so that a person's edits can be told
# from what the app itself has changed.


@dataclass(frozen=True)
class ExploredApp:
    """document: to be kept; built: the same without a person's edits.

    changes: since the document before; kept, lost: a person's edits, see `merge_documents`. pages:
    that are known by now; asked, changed, gone: of a refresh. failed: pages that could not be read,
    and why. left: addresses that the bounds left out. sent, refused: requests; unsafe: those of
    them that were sent and could have written, 0 unless something is broken.
    """

    document: AppDocument
    built: AppDocument
    changes: tuple[DocumentChange, ...]
    kept: tuple[str, ...]
    lost: tuple[str, ...]
    pages: int
    asked: int
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    failed: Mapping[str, str]
    left: int
    sent: int
    refused: int
    unsafe: int
    seconds: float


def explore_app(
    open_driver: OpenFetching,
    app: str,
    bounds: ExploreBounds,
    *,
    folder: Path,
    document: AppDocument | None,
    clock: Clock,
) -> ExploredApp:
    """Explore, or refresh where the folder holds records. document: that a person may have edited.

    Raises DataError where no page can be read, ConfigError where the folder does not hold what the
    document was made of, and what `explore` raises.
    """
    base = None if document is None else _base(folder, document)
    start = clock.monotonic()
    gate = ReadingGate((origin_of(bounds.start),))
    unsafe: list[str] = []

    def watched(request: PendingRequest) -> GateDecision:
        decision = gate(request)
        if decision.allowed and request.method.upper() not in SAFE_METHODS:
            unsafe.append(request.url)
        return decision

    driver = open_driver(watched)
    records = PageRecords(folder)
    asked = 0
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    try:
        if len(records):
            found = refresh(driver, records, bounds, clock=clock)
            explored, asked = found.explored, found.asked
            changed, gone = found.changed, found.gone
        else:
            explored = explore(driver, records, bounds, clock=clock)
    finally:
        driver.close()
    built = _built(app, records, explored, bounds)
    merged = _merged_documents(base, document, built)
    changes = () if document is None else document_changes(document, merged.document)
    version = "1" if document is None else document.version
    if changes:
        version = next_version(version)
    return ExploredApp(
        document=replace(merged.document, version=version),
        built=replace(built, version=version),
        changes=changes,
        kept=merged.kept,
        lost=merged.lost,
        pages=len(records),
        asked=asked,
        changed=changed,
        gone=gone,
        failed=explored.failed,
        left=explored.left,
        sent=gate.sent,
        refused=gate.refused.total(),
        unsafe=len(unsafe),
        seconds=clock.monotonic() - start,
    )


def keep_explored(found: ExploredApp, path: Path, folder: Path) -> None:
    """Write the document to `path`, and into the folder what it was built of."""
    # First what the next exploration compares with: it is found by the version.
    write_document(_base_path(folder, found.built.version), found.built)
    write_document(path, found.document)


def _built(
    app: str, records: PageRecords, explored: Explored, bounds: ExploreBounds
) -> AppDocument:
    if not len(records):
        why = explored.failed.get(bounds.start, "it does not answer")
        raise DataError(
            f"the start cannot be read: {why}",
            file=bounds.start,
            hint="open it in a browser; where it asks to sign in, say so in the policy",
        )
    return build_document(app, records.all, (origin_of(bounds.start),))


def _merged_documents(
    base: AppDocument | None, document: AppDocument | None, built: AppDocument
) -> MergedDocument:
    if base is None or document is None:
        return MergedDocument(built, (), ())
    return merge_documents(base, document, built)


def _base(folder: Path, document: AppDocument) -> AppDocument:
    path = _base_path(folder, document.version)
    if not path.is_file():
        raise ConfigError(
            f"there are no records of version {document.version} of this document",
            where=str(folder),
            hint="name the folder that it was explored with (--records), or read all pages anew "
            "(--anew), which drops what was edited",
        )
    return read_document(path)


def _base_path(folder: Path, version: str) -> Path:
    return folder / f"built-{content_hash(version)[:12]}.txt"
