"""adwright author review."""

from __future__ import annotations

import getpass
import json
import os
import webbrowser
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.lm.serve import require_key
from adwright.cli.shared import IntoStore, allowed_to_replace, opened_store, show_facts, show_table
from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError, DataError, MissingExtraError

if TYPE_CHECKING:
    from adwright.authoring.writer.drafts import Drafts
    from adwright.authoring.writer.exporting import ExportWhich
    from adwright.console.ads import StoredAds
    from adwright.console.pairs import PairTable
    from adwright.console.shell import ConsoleConfig


#: The environment variable that holds the key of the pages.
REVIEW_KEY = "ADWRIGHT_REVIEW_KEY"
_JUDGEMENTS = "judgements.jsonl"


def review(
    folder: Path | None = None,
    *,
    store: str | None = None,
    tenant: str | None = None,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65535)] = 8003,
    pairs: bool = False,
    against: Path | None = None,
    judgements: Path | None = None,
    sample: Count = 200,
    seed: Natural = 0,
    allow_host: list[str] | None = None,
    rows: Annotated[int, Ge(1), Le(200)] = 25,
    open_page: bool = False,
) -> None:
    """Review drafts in a browser, until it is interrupted.

    The page shows each draft beside what the shop has, word by word, with claims that no fact of
    the product bears out marked in it. Approve, edit or reject, by buttons or the keys a, e, r, j,
    k; `?` shows them. Several people may review at once, while the job still writes. Decisions go
    into the journal of the folder: `adwright author export` writes what was approved, and
    `adwright author preferences` what models learn from.

    With --pairs or --against people compare two texts without knowing where these come from:
    `adwright author evaluate` says who won, and whether they agree.

    With --store and --tenant, with or without drafts, the page lists the ads of a store that are in
    review, each beside the one that it was made from: approve, send back or retire.

    Where ADWRIGHT_REVIEW_KEY is set, each reviewer signs in with that key and a name.

        adwright author review drafts

        adwright author review drafts --pairs --name ann

        adwright author review small --against large --sample 100

        adwright author review --store sqlite:///adwright.db --tenant acme

    Options:
        folder: What `adwright author write` wrote to.
        store: Also review the ads of this store: sqlite:///PATH or postgresql://...
        tenant: Whose ads, with --store.
        name: Of who reviews, until somebody gives another on the page.
        pairs: Also compare, blindly, what the shop has with what was written.
        against: Compare blindly with the drafts of this folder instead.
        judgements: Where comparisons go; by default FOLDER/judgements.jsonl.
        sample: Pairs to compare, at most.
        allow_host: Name that the page may be called by; may be repeated. Without a key:
            localhost and --host by default.
        rows: Drafts of one page.
        open_page (--open): Open the page in the browser, too.
    """
    need_pages()
    key = os.environ.get(REVIEW_KEY, "")
    _require_review_key(host, key)
    if (store is None) != (tenant is None) or (folder is None and store is None):
        raise ConfigError(
            "there is nothing to review",
            where="--store, --tenant",
            hint="name a folder of drafts, or a store and whose ads, or both",
        )
    if folder is None and (pairs or against is not None):
        raise ConfigError("there are no drafts to compare", where="--pairs", hint="name a folder")
    if judgements is not None and not pairs and against is None:
        raise ConfigError(
            "there is nothing to compare",
            where="--judgements",
            hint="add --pairs, or --against FOLDER",
        )
    from adwright.console.shell import ConsoleConfig
    from adwright.web.gate import LOCAL_HOSTS

    config = ConsoleConfig(
        key=key,
        reviewer=_own_name() if name is None else name,
        rows=rows,
        allowed_hosts=tuple(allow_host or ()) or (() if key else (host, *LOCAL_HOSTS)),
    )
    with ExitStack() as stack:
        drafts = None if folder is None else stack.enter_context(_opened(folder))
        table, ads = None, None
        if store is not None and tenant is not None:
            from adwright.console.ads import StoredAds

            ads = StoredAds(stack.enter_context(opened_store(store, tenant)), tenant)
        if folder is not None and drafts is not None and (pairs or against is not None):
            path = folder / _JUDGEMENTS if judgements is None else judgements
            drawn = sample, seed
            table = stack.enter_context(_table(drafts, folder, against, path, drawn))
        _serve(config, drafts, ads, table, (host, port), open_page=open_page)


def need_pages() -> None:
    """Raise MissingExtraError where a package of the pages is missing."""
    for name in ("fastapi", "prometheus_client", "uvicorn", "js_lib_htmx"):
        if find_spec(name) is None:
            raise MissingExtraError("the pages of the console", "service")


def _serve(
    config: ConsoleConfig,
    drafts: Drafts | None,
    ads: StoredAds | None,
    pairs: PairTable | None,
    place: tuple[str, int],
    *,
    open_page: bool,
) -> None:
    from adwright.console.app import create_console_app
    from adwright.console.review import JobChecks
    from adwright.web.server import listen, serve

    host, port = place
    with listen(host, port) as door:
        checks = None if drafts is None else JobChecks(drafts)
        app = create_console_app(config, drafts, checks, ads=ads, pairs=pairs)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{door.getsockname()[1]}/"
        count = 0 if drafts is None else len(drafts.states())
        told = f"{count:,} {'draft' if count == 1 else 'drafts'}" if drafts else "ads of a store"
        typer.echo(f"{told}; Ctrl-C ends it", err=True)
        typer.echo(f"review on {url}")
        if open_page:
            webbrowser.open(url)
        serve(app, door)


@contextmanager
def _opened(folder: Path) -> Iterator[Drafts]:
    """The journal of a folder, which must be there."""
    from adwright.authoring.writer.drafts import JOURNAL, Drafts

    if not (folder / JOURNAL).exists():
        # Says so; opening for writing would make an empty one.
        Drafts.open(folder, reading_only=True).close()
    with closing(Drafts.open(folder)) as drafts:
        yield drafts


@contextmanager
def _table(
    drafts: Drafts, folder: Path, against: Path | None, path: Path, drawn: tuple[int, int]
) -> Iterator[PairTable]:
    """What is compared. drawn: pairs at most, and the seed."""
    from adwright.authoring.describe.review import JudgementFile
    from adwright.authoring.writer.drafts import Drafts
    from adwright.console.pairs import PairTable, pairs_of_jobs, pairs_of_shop
    from adwright.core.clock import SystemClock

    sample, seed = drawn
    if against is None:
        found = pairs_of_shop(drafts, sample=sample, seed=seed)
    else:
        names = _names(folder, against)
        with closing(Drafts.open(against, reading_only=True)) as others:
            found = pairs_of_jobs(drafts, others, names, sample=sample, seed=seed)
    with closing(JudgementFile(path)) as file:
        typer.echo(f"{len(found):,} pairs; judgements go to {path}", err=True)
        yield PairTable(found, file, SystemClock(), seed=seed)


def _names(folder: Path, other: Path) -> tuple[str, str]:
    """The names of two folders as sources. Raises ConfigError where they are the same one."""
    one, two = folder.resolve(), other.resolve()
    if one == two:
        raise ConfigError(
            "a folder is compared with itself", where=f"--against {other}", hint="name another"
        )
    return (one.name, two.name) if one.name != two.name else (str(one), str(two))


def _require_review_key(host: str, key: str) -> None:
    """Raise ConfigError where others than this machine could review without a key."""
    try:
        require_key(host, bool(key))
    except ConfigError:
        raise ConfigError(
            "other machines could review without a key",
            where=f"--host {host}",
            hint=f"set {REVIEW_KEY}, or listen on 127.0.0.1",
        ) from None


def _own_name() -> str:
    """The name of who is at this machine; empty where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


# --------------------------------------------------------------------------------------------------
# adwright author edit and undo.


def edit(
    folder: Path,
    product: str,
    slot: str,
    text: str,
    *,
    variant: Natural = 0,
    reviewer: str = "",
) -> None:
    """Put a text of your own in the place of a draft. No job writes over it, unless --over-edits
    asks for that.

        adwright author edit out p17 headline "A quiet cup"

    Options:
        folder: Folder that `adwright author write` wrote to.
        product: Id of the product.
        slot: headline, description, ...
        text: The text that takes the place of the draft.
        variant: Which variant, from 0.
        reviewer: Who says so.
    """
    from adwright.authoring.writer.drafts import Drafts, ReviewDecision

    decision = ReviewDecision(product, slot, variant, "edit", text, reviewer=reviewer)
    with closing(Drafts.open(folder, existing=True)) as drafts:
        before = drafts.text(decision.key)
        drafts.decide(decision)
    typer.echo(f"- {before}\n+ {text}")


def undo(
    folder: Path,
    product: str = "",
    slot: str = "",
    *,
    variant: Natural = 0,
    export: bool = False,
) -> None:
    """Take back the last decision, or the last one about a text; or the last export.

    adwright author undo out

    adwright author undo out p17 headline

    adwright author undo out --export

    Options:
        folder: Folder that `adwright author write` wrote to.
        product: Id of the product; of the last decision.
        slot: headline, description, ...
        variant: Which variant, from 0.
        export: Take the last export back, and no decision.
    """
    from adwright.authoring.writer.drafts import Drafts
    from adwright.authoring.writer.exporting import undo_export
    from adwright.core.errors import ConfigError

    if export:
        typer.echo(f"{undo_export(folder)} is as it was before the export")
        return
    if bool(product) != bool(slot):
        raise ConfigError(
            "a text is named by product and slot", where="adwright author undo", hint="name both"
        )
    with closing(Drafts.open(folder, existing=True)) as drafts:
        key = drafts.undo((product, slot, variant) if product else None)
        now = drafts.states()[key].status
    typer.echo(f"{key[0]}, {key[1]}, variant {key[2]}: {now} again")


# --------------------------------------------------------------------------------------------------
# adwright author export and diff.

_SHOWN = 20


def diff(
    folder: Path,
    *,
    every: bool = False,
    products: Path | None = None,
    limit: Natural = 50,
) -> None:
    """Say what an export would change in the table, cell by cell. Nothing is written.

    Options:
        folder: Folder that `adwright author write` wrote to.
        every (--all): Drafts that wait for a decision, too; never rejected ones.
        products: The table, where it is no longer where the job found it.
        limit: Show so many; 0 for all.
    """
    from adwright.authoring.writer.exporting import changes_in

    which: ExportWhich = "all" if every else "approved"
    changes = changes_in(folder, which=which, products=products)
    for one in islice(changes, limit or None):
        typer.echo(f"{one.product}: {one.column}\n  - {one.before}\n  + {one.after}")
    left = sum(1 for _ in changes)
    if left:
        typer.echo(f"and {left:,} more: --limit 0 shows all")


def export(
    folder: Path,
    *,
    out: Path | None = None,
    creatives: Path | None = None,
    every: bool = False,
    products: Path | None = None,
    force: bool = False,
    into: IntoStore = IntoStore(),
) -> None:
    """Write the table of the products with the approved texts in it, in the shop's own columns.

    All other cells are as they came. `adwright author diff` shows before what changes, and
    `adwright author undo --export` takes the last export back.

        adwright author export drafts --out shop_new.csv
        adwright author export drafts --all --creatives ads.parquet

    Options:
        folder: Folder that `adwright author write` wrote to.
        out: The new table: .csv, .tsv, .txt, .jsonl or .parquet.
        creatives: Table of the ads that the texts make, .parquet or .csv, with who wrote each and
            from which it was made: `adwright creative score` judges them, `data import` takes them.
        every (--all): Drafts that wait for a decision, too; never rejected ones.
        products: The table, where it is no longer where the job found it.
    """
    from adwright.authoring.writer.exporting import creatives_of, export_texts

    if creatives is not None or into.store:
        from adwright.authoring.writer.drafts import Drafts
        from adwright.data.sources.tables import write_creatives

        into.check()
        if creatives is not None:
            allowed_to_replace(creatives, force=force)
        with closing(Drafts.open(folder, reading_only=True)) as drafts:
            ads = creatives_of(drafts, "all" if every else "approved")
        if creatives is not None:
            write_creatives(creatives, ads)
            typer.echo(f"{len(ads):,} ads in {creatives}")
        into.enter(ads, author="adwright author export")
    if out is None:
        if creatives is None and not into.store:
            hint = "name --out, --creatives or --store"
            raise ConfigError("nothing is to be written", where="--out", hint=hint)
        return
    allowed_to_replace(out, force=force)
    which: ExportWhich = "all" if every else "approved"
    done = export_texts(folder, out, which=which, products=products)
    typer.echo(f"{done.texts:,} texts in {out}, {done.changed:,} cells changed")
    if done.missing:
        show_table(["no longer in the table"], [[one] for one in done.missing[:_SHOWN]])


# --------------------------------------------------------------------------------------------------
# adwright author preferences.


def preferences(
    folder: Path,
    *,
    out: Path,
    force: bool = False,
) -> None:
    """Write what reviewers preferred, as data that a model learns from.

    An edit is preferred to its draft, and an approved or edited text to a rejected variant of the
    same slot. Each line has `chosen` and `rejected`, both conversations that begin with what the
    model was asked.

        adwright author preferences drafts --out preferences.jsonl

        adwright tune run --data preferences.jsonl --messages-field chosen --out tuned

    Options:
        folder: What `adwright author review` was given.
        out: File of JSON lines to write.
    """
    from adwright.authoring.preferences import preferences as preferences_of
    from adwright.authoring.writer.drafts import Drafts
    from adwright.core.atomic import atomic_write_text

    with closing(Drafts.open(folder, reading_only=True)) as drafts:
        found = preferences_of(drafts)
    if found.unknown:
        typer.echo(
            f"{found.unknown:,} left out: what the model was asked for them is not in the journal",
            err=True,
        )
    if not found.rows:
        raise DataError(
            "no decision tells of a preference",
            file=str(folder),
            hint="edit drafts, or reject one variant and approve another: `adwright author review`",
        )
    allowed_to_replace(out, force=force)
    lines = (json.dumps(row.as_json(), ensure_ascii=False) + "\n" for row in found.rows)
    atomic_write_text(out, "".join(lines))
    edits = sum(row.kind == "edit" for row in found.rows)
    typer.echo(f"{len(found.rows):,} preferences ({edits:,} edits) in {out}")


# --------------------------------------------------------------------------------------------------
# adwright author status.

_STATUS_SHOWN = 10


def status(
    folder: Path,
    *,
    as_json: bool = False,
) -> None:
    """Say what a job has written, what waits for a decision, and what failed and why.

    A job may be running meanwhile.

    Options:
        folder: Folder that `adwright author write` wrote to.
        as_json (--json): As one JSON object.
    """
    from adwright.authoring.writer.drafts import JOURNAL, Drafts
    from adwright.authoring.writer.job import REPORT

    with closing(Drafts.open(folder, reading_only=True)) as drafts:
        counts: dict[str, Counter[str]] = {}
        damaged = drafts.damaged()
        for key, state in drafts.states().items():
            if key in damaged:
                continue
            own = counts.setdefault(key[1], Counter())
            own[state.status] += 1
            own["with findings"] += bool(state.errors or state.warnings)
        failures = drafts.failures()
    path = folder / REPORT
    report = json.loads(path.read_text("utf-8")) if path.is_file() else None
    if as_json:
        told = {
            "slots": {slot: dict(own) for slot, own in counts.items()},
            "failures": [
                {"product": one.product, "slot": one.slot, "variant": one.variant}
                | {"reason": one.reason, "attempts": one.attempts}
                for one in failures
            ],
            "damaged": [
                {"product": product, "slot": slot, "variant": variant, "reason": error.what}
                for (product, slot, variant), error in damaged.items()
            ],
            "report": report,
        }
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    names = ("unreviewed", "approved", "edited", "rejected", "with findings")
    rows = [[slot, *(f"{own[name]:,}" for name in names)] for slot, own in counts.items()]
    show_table(["slot", *names], rows)
    for one in failures[:_STATUS_SHOWN]:
        where = f"{one.product}, {one.slot}, variant {one.variant}"
        typer.echo(f"failed: {where}: {one.reason}")
    if len(failures) > _STATUS_SHOWN:
        typer.echo(f"and {len(failures) - _STATUS_SHOWN:,} more failed: --json names them all")
    for (product, slot, variant), error in list(damaged.items())[:_STATUS_SHOWN]:
        typer.echo(f"damaged: {product}, {slot}, variant {variant}: {error.what}")
    if damaged:
        typer.echo(
            f"{len(damaged):,} texts cannot be read: take their lines out of {folder / JOURNAL}, "
            "and `adwright author write` writes them anew"
        )
    if report is not None:
        show_facts(
            {
                "last run": f"{report['end']}, {report['written']:,} written, {report['left']:,} "
                f"left, by {report['model']} on {report['engine']}"
            }
        )
