"""Texts out of the journal into the table that the products came from; taken back where asked.

    export_texts("out", Path("products_new.csv"), which="approved")
    undo_export("out")

What was in the place of the file is kept in the folder of the job, so that the last export can be
taken back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from adwright.authoring.checks.limits import brands_of
from adwright.authoring.writer.asking import OpenedWriter
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import JOURNAL, Draft, Drafts, TextStatus, make_plan
from adwright.authoring.writer.products import (
    Change,
    ProductTable,
    changes_of,
    read_products,
    write_back,
)
from adwright.authoring.writer.recipe import recipe_of, require_same_recipe
from adwright.core.atomic import atomic_write_bytes, atomic_write_text, resource_error
from adwright.core.errors import DataError, ResourceError
from adwright.core.hashing import sha256_file
from adwright.data.creatives import MODEL, PERSON, Creative, CreativeState
from adwright.lm.engine.generation import Message
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.open_model import LmSpec, adapter_hash

#: approved: texts that a person approved or edited. all: those that wait for a decision, too.
ExportWhich = Literal["approved", "all"]
_LAST, _KEPT = "export.json", "export.before"


@dataclass(frozen=True)
class ExportDone:
    """texts: that were exported. changed: cells that are others now. missing: products that the
    table no longer has."""

    path: Path
    texts: int
    changed: int
    missing: tuple[str, ...]


def texts_of(drafts: Drafts, which: ExportWhich = "approved") -> dict[tuple[str, str], list[str]]:
    """(product, slot) -> texts, the least variant first. Rejected ones are in neither."""
    wanted = {"approved", "edited"} | ({"unreviewed"} if which == "all" else set())
    found: dict[tuple[str, str], list[str]] = {}
    for key, state in sorted(drafts.states().items(), key=lambda one: one[0][2]):
        if state.status in wanted:
            found.setdefault(key[:2], []).append(drafts.text(key))
    return found


#: A written text -> the slot of an ad that it fills.
_PLACES = {
    "headline": "headline",
    "title": "headline",
    "long_headline": "headline",
    "description": "description",
    "short_description": "description",
    "meta_description": "description",
    "primary_text": "body",
}


def creatives_of(drafts: Drafts, which: ExportWhich = "approved") -> list[Creative]:
    """The written texts as ads: one per product and variant, with the product's brand and id.

    A text whose slot another text of the variant has taken is an ad of its own; labels are none.
    What a person edited has as its parent the ad that the model wrote, which is among them. Of
    ads that say the same the first is kept.
    """
    ads: dict[str, Creative] = {}
    open_ads: dict[tuple[str, int], list[dict[str, Draft]]] = {}
    statuses: dict[TextStatus, CreativeState] = {"approved": "approved", "edited": "approved"}
    if which == "all":
        statuses["unreviewed"] = "in review"
    order = list(_PLACES)
    kept = [one for one, is_now in drafts.states().items() if is_now.status in statuses]
    texts = [one for one in kept if one[1] in _PLACES]
    for key in sorted(texts, key=lambda one: (one[0], one[2], order.index(one[1]))):
        product, slot, variant = key
        some = open_ads.setdefault((product, variant), [])
        free = next((one for one in some if _PLACES[slot] not in one), None)
        if free is None:
            some.append(free := {})
        free[_PLACES[slot]] = drafts.draft(key)
    for (name, _), some in open_ads.items():
        known = drafts.product(name)
        for parts in some:
            for ad in _as_ads(drafts, parts, known.brand if known else "", name, statuses):
                ads.setdefault(ad.creative_id, ad)
    return list(ads.values())


def _as_ads(
    drafts: Drafts,
    texts: Mapping[str, Draft],
    brand: str,
    item: str,
    statuses: Mapping[TextStatus, CreativeState],
) -> Iterator[Creative]:
    """The ad of these texts as the model wrote it, and behind it what a person made of it."""
    by = next(iter(texts.values())).provenance
    clean = all(one.severity != "error" for draft in texts.values() for one in draft.findings)
    states = [statuses[drafts.states()[draft.key].status] for draft in texts.values()]
    slots: dict[str, Any] = {slot: draft.text for slot, draft in texts.items()}
    written = Creative(
        **slots,
        brand=brand,
        item_id=item,
        maker=MODEL + " + ".join(filter(None, (by.model, by.adapter))),
        checks_passed=("authoring",) if clean else (),
        state="in review" if "in review" in states else "approved",
    )
    decisions = {slot: drafts.decision(draft.key) for slot, draft in texts.items()}
    edits = {
        slot: one
        for slot, one in decisions.items()
        if one and one.kind == "edit" and one.text != texts[slot].text
    }
    yield replace(written, state="draft") if edits else written
    if edits:
        reviewer = next(iter(edits.values())).reviewer
        changes = {slot: one.text for slot, one in edits.items()}
        edited = written.edited("in review", changes, maker=reviewer and PERSON + reviewer)
        yield replace(edited, state=written.state)


def changes_in(
    folder: str | Path, *, which: ExportWhich = "approved", products: Path | None = None
) -> Iterator[Change]:
    """The cells that an export would change, in the order of the table; errors as
    `export_texts`."""
    with closing(Drafts.open(folder, reading_only=True)) as drafts:
        yield from changes_of(_table(drafts, products), texts_of(drafts, which))


def export_texts(
    folder: str | Path,
    path: Path,
    *,
    which: ExportWhich = "approved",
    products: Path | None = None,
) -> ExportDone:
    """Write the table of the job with its texts to `path`, replacing what is there.

    products: the table, where it is no longer where the job found it.
    Raises DataError where there is nothing to export or the table cannot be read; ResourceError
    where the disk is full.
    """
    with closing(Drafts.open(folder, reading_only=True)) as drafts:
        table, texts = _table(drafts, products), texts_of(drafts, which)
    if not texts:
        raise DataError(
            "there is no approved text to export" if which == "approved" else "there is no text",
            file=str(folder),
            hint="review the drafts: `adwright author review`; or export --all",
        )
    place = Path(folder)
    _keep(path, place / _KEPT)
    changed = write_back(table, texts, path)
    said = {"path": str(path.resolve()), "sha256": sha256_file(path)}
    had = (place / _KEPT).exists()
    atomic_write_text(place / _LAST, json.dumps(said | {"replaced": had}) + "\n")
    missing = sorted({product for product, _ in texts if product not in table.rows})
    return ExportDone(path, sum(map(len, texts.values())), changed, tuple(missing))


def undo_export(folder: str | Path) -> Path:
    """Put back what was in the place of the last export, or remove it; return its path.

    Raises DataError where there was none, ResourceError where the file has changed since.
    """
    place = Path(folder)
    last = _read(place / _LAST)
    path = Path(last["path"])
    if path.exists() and sha256_file(path) != last["sha256"]:
        raise ResourceError(
            "the exported file has changed since",
            where=str(path),
            hint=f"what was there before is {place / _KEPT}" if last["replaced"] else "remove it",
        )
    try:
        if last["replaced"]:
            shutil.move(place / _KEPT, path)
        else:
            path.unlink(missing_ok=True)
        (place / _LAST).unlink()
    except OSError as error:
        raise resource_error(error, path) or error from error
    return path


def _table(drafts: Drafts, products: Path | None) -> ProductTable:
    """The table of the last job, read as it read it."""
    jobs = drafts.jobs()
    told: Mapping[str, Any] = (drafts.job(jobs[-1]) or {}).get("table", {}) if jobs else {}
    path = products or Path(told.get("path", ""))
    if not told or not path.is_file():
        raise DataError(
            "the table of the products is not there",
            file=str(path),
            hint="name it with --products",
        )
    return read_products(
        path,
        shop=told["shop"],
        columns=told["fields"],
        attributes=tuple(told["attributes"]),
    )


def _keep(path: Path, kept: Path) -> None:
    """Copy what is in the place of an export aside, whole or not at all."""
    try:
        if path.is_file():
            atomic_write_bytes(kept, path.read_bytes())
        else:
            kept.unlink(missing_ok=True)
    except OSError as error:
        raise resource_error(error, path) or error from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise DataError("there is no export to take back", file=str(path.parent)) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"the note of the last export is broken: {error}", file=str(path)
        ) from error


# --------------------------------------------------------------------------------------------------
# What a job would do, without asking a model: rows, prompts, and about how many tokens.
#
# Tokens are guessed from characters (four of ASCII, or one and a half of other scripts, to a token,
# our choice): what a vendor counts differs by a third or so.

_ASCII, _OTHER = 4.0, 1.5
#: Tokens that a chat template puts around a turn.
_TURN = 5
#: Share of the room of an answer that is used.
_USED = 0.6


@dataclass(frozen=True)
class Rehearsal:
    """texts: that would be written. same, human: that are kept. unasked: rows that make no prompt,
    such as a title without a query; first: the reason of the first. prompt_tokens, answer_tokens:
    about. cost: of these."""

    products: int
    texts: int
    same: int
    human: int
    unasked: int
    first: str
    prompt_tokens: int
    answer_tokens: int
    cost: float
    currency: str

    def facts(self) -> dict[str, str]:
        """In words, by name."""
        facts = {
            "would write": f"{self.texts:,} texts for {self.products:,} products",
            "would keep": f"{self.same:,} that are there, {self.human:,} by a person's word",
            "tokens, about": f"{self.prompt_tokens:,} to read, {self.answer_tokens:,} to write",
        }
        if self.cost:
            facts["cost, about"] = f"{self.cost:,.4f} {self.currency}"
        if self.unasked:
            facts["would fail"] = f"{self.unasked:,} texts, the first: {self.first}"
        return facts


def rehearse(
    table: ProductTable, folder: str | Path, config: WriteConfig, writer: LmSpec
) -> Rehearsal:
    """Check a job as `run_job` does, and say what it would do. Nothing is written.

    Raises as `run_job`, and AssetError where there is no such adapter.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise ResourceError("this is not a folder", where=str(folder), hint="name another")
    silent = ScriptedModel(ScriptedConfig())
    opened = OpenedWriter(
        silent, writer.model, "none", writer.adapter, adapter_hash(writer.adapter)
    )
    recipe = recipe_of(config, opened, brands=brands_of(table.products))
    with ExitStack() as stack:
        drafts: Drafts | None = None
        if (place / JOURNAL).is_file():
            drafts = stack.enter_context(closing(Drafts.open(folder, reading_only=True)))
            require_same_recipe(drafts, recipe, rewrite=config.rewrite)
        plan = make_plan(table, config, recipe.digests, drafts)
    asked = answered = unasked = 0
    first = ""
    for row in plan.rows:
        try:
            messages = recipe.prompts[row.slot.name].messages(row.request(config.labels))
        except DataError as error:
            unasked, first = unasked + 1, first or str(error)
            continue
        asked += guessed_tokens(messages)
        answered += round(row.slot.tokens * _USED)
    cost = config.prices.of(asked, 0, answered)
    return Rehearsal(
        plan.products,
        len(plan.rows) - unasked,
        plan.same,
        plan.human,
        unasked,
        first,
        asked,
        answered,
        cost,
        config.prices.currency,
    )


def guessed_tokens(messages: tuple[Message, ...]) -> int:
    """About how many tokens a prompt has."""
    total = 0.0
    for one in messages:
        plain = sum(map(str.isascii, one.content))
        total += plain / _ASCII + (len(one.content) - plain) / _OTHER + _TURN
    return round(total)
