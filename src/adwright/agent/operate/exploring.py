"""Makes the document of an app, and brings it up to date without losing what a person wrote in it.

    found = explore_app(open_driver, "shop", bounds, folder=Path("shop.records"), document=None)
    keep_explored(found, Path("shop.txt"), Path("shop.records"))

The records of a folder are what later explorations go on from: pages that have not changed are not
read again. Beside them stands what was built each time, so that a person's edits can be told from
what the app itself has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from adwright.agent.document.changes import DocumentChange, document_changes, next_version
from adwright.agent.document.elements import AppDocument
from adwright.agent.document.text_format import read_document, write_document
from adwright.agent.document.urls import origin_of
from adwright.agent.drivers.protocol import GateDecision, PendingRequest
from adwright.agent.explore.building import build_document
from adwright.agent.explore.explorer import ExploreBounds, Explored, explore
from adwright.agent.explore.reading_gate import ReadingGate
from adwright.agent.explore.records import PageRecords
from adwright.agent.explore.refreshing import refresh
from adwright.agent.operate.merging import MergedDocument, merge_documents
from adwright.agent.operate.screens import OpenFetching
from adwright.agent.policy.shapes import SAFE_METHODS
from adwright.core.clock import Clock
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import content_hash

__all__ = ["ExploredApp", "explore_app", "keep_explored"]


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
    merged = _merged(base, document, built)
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


def _merged(
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
