"""adwright author data: instruction data out of public sets and a catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from adwright.cli.shared import (
    allowed_to_replace,
    column_pairs,
    show_facts,
    show_table,
)
from adwright.core.config import Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.authoring.checks.limits import BrandVoice
    from adwright.authoring.instructions.build import InstructionPlan, InstructionReport
    from adwright.authoring.instructions.sources import DataSources
    from adwright.lm.engine.generation import LanguageModel


def data(
    *,
    out: Path,
    folder: Path | None = None,
    pricerunner: Path | None = None,
    intention: Path | None = None,
    title_attributes: Path | None = None,
    abt_buy: Path | None = None,
    walmart_amazon: Path | None = None,
    catalogue: Path | None = None,
    columns: str | None = None,
    attribute_columns: str = "",
    locale: str = "en",
    complete_journey: bool = False,
    tasks: str = "ads,titles,classify,intent,answers,descriptions",
    held_out: str = "",
    most: Natural = 2000,
    valid: float = 0.1,
    test: float = 0.1,
    phrasings: Natural = 24,
    teacher: str = "",
    server: str = "",
    served_model: str = "",
    drop_missing: bool = False,
    voice: Path | None = None,
    offline: bool = False,
    seed: Natural = 0,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Build instruction data for `adwright author tune`, out of what you name.

    Answers come from people where a set has them (categories, intents, attributes, descriptions),
    and for ads, titles and questions from a teacher, or without one from sentences that are filled
    with a product's facts. Rows whose text has a number, brand or claim that is not in its input
    are left out, and counted in OUT/report.json. No product is in two of train, valid and test.
    With --voice each row, and the teacher, is told how the brand speaks, as `adwright author write`
    tells it, and texts with a word that it bans are left out.

    Examples: `adwright author data --out rows --folder data`,
    `adwright author data --out rows --catalogue shop.csv --columns id=sku,title=name`.

    Options:
        out: Folder for train, valid and test, and the report.
        folder: Folder in which the public sets lie under their usual names.
        pricerunner: Offers with categories: offers.csv.
        intention: IntentionQA's task1.jsonl: reasons to buy.
        title_attributes: AE-110k as JSON lines: titles and attributes.
        abt_buy: Folder of matches with descriptions.
        walmart_amazon: Folder of matches with categories.
        catalogue: A table of products of your own: CSV, JSON lines, Parquet.
        columns: What its columns are called, id=sku,title=name; also description, brand,
            category, price, currency, cluster, query, and attributes (again for each).
        attribute_columns: Old: --columns attributes=, several by commas.
        locale: The language of the catalogue: de-AT.
        complete_journey: Products of Complete Journey, too.
        tasks: ads, titles, classify, intent, answers, descriptions, attributes.
        held_out: Tasks that go to test alone, for zero-shot.
        most: Rows of a task; 0 for all.
        valid: Share of the products to choose by.
        test: Share of the products to test with.
        phrasings: New instructions of a task, beside our seeds.
        teacher: A model that writes instructions, ads, titles and answers.
        server (--url --server): The same by any OpenAI-compatible endpoint.
        served_model: How the endpoint calls its model.
        drop_missing: Leave out descriptions with facts that their input lacks, instead of
            showing these.
        voice: TOML file with the brand's voice: tone, banned, required, examples, locale.
    """
    from adwright.authoring.instructions.build import InstructionPlan, build_instructions

    files = {
        "pricerunner": pricerunner,
        "intention": intention,
        "attributes": title_attributes,
        "abt_buy": abt_buy,
        "walmart_amazon": walmart_amazon,
        "catalogue": catalogue,
    }
    plan = InstructionPlan(
        _sources(folder, files, complete_journey, _own(columns, attribute_columns, locale)),
        tasks=_names(tasks),
        held_out=_names(held_out),
        most=most,
        valid=valid,
        test=test,
        phrasings=phrasings,
        show_missing=not drop_missing,
        voice=_voice(voice),
        seed=seed,
    )
    if dry_run:
        _tell_plan(plan)
        return
    replacing = allowed_to_replace(out, force=force)
    with _taught_by(teacher, server, served_model, offline=offline) as model:
        report = build_instructions(plan, out, teacher=model, overwrite=replacing)
    _tell(report, out)


def _sources(
    folder: Path | None, files: dict[str, Path | None], journey: bool, own: dict[str, Any]
) -> DataSources:
    """The sets of the folder, and those that are named. own: what is said of the user's table."""
    from adwright.authoring.instructions.sources import DataSources

    named: dict[str, Any] = {name: path for name, path in files.items() if path is not None}
    if journey:
        named["complete_journey"] = True
    if folder is not None:
        return replace(DataSources.in_folder(folder), **named, **own)
    if not named:
        raise ConfigError(
            "there is nothing named to build from",
            where="adwright author data",
            hint="--folder, --catalogue, or one of the sets; see --help",
        )
    return DataSources(**named, **own)


def _own(columns: str | None, attributes: str, locale: str) -> dict[str, Any]:
    """What is said of the user's own table."""
    from adwright.authoring.instructions.sources import ProductColumns

    named = column_pairs(columns, several=("attributes",))
    known = set(ProductColumns.__dataclass_fields__)
    wrong = next((name for name in named if name not in known), None)
    if wrong is not None:
        raise ConfigError(
            f"a product has no {wrong}",
            where="--columns",
            hint=f"it has {', '.join(sorted(known))}",
        )
    facts = (*named.pop("attributes", ()), *_names(attributes))
    told = {field: "".join(theirs) for field, theirs in named.items()}
    return {"columns": ProductColumns(**told, attributes=facts), "locale": locale}


def _voice(path: Path | None) -> BrandVoice | None:
    from adwright.authoring.checks.limits import BrandVoice
    from adwright.core.config import load_toml

    return None if path is None else load_toml(path, BrandVoice)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@contextmanager
def _taught_by(
    teacher: str, server: str, served: str, *, offline: bool
) -> Iterator[LanguageModel | None]:
    """The teacher, open for as long as the block lasts; None where none is named."""
    from adwright.lm.open_model import LmSpec, open_lm

    if teacher and server:
        hint = "name a local model, or an endpoint"
        raise ConfigError("there is one teacher", where="--teacher, --server", hint=hint)
    if bool(server) != bool(served):
        hint = "--server http://127.0.0.1:8001/v1 --served-model NAME"
        raise ConfigError("an endpoint and its model go together", where="--server", hint=hint)
    if not (teacher or server):
        yield None
        return
    with closing(open_lm(LmSpec(served or teacher, url=server, offline=offline))) as model:
        yield model


def _tell_plan(plan: InstructionPlan) -> None:
    from adwright.authoring.instructions.build import gathered_examples, instructions_for

    examples, instructions = gathered_examples(plan), instructions_for(plan)
    rows = []
    for task in plan.tasks:
        own = [one for one in examples if one.request.task.name == task]
        sources = ", ".join(sorted({one.source for one in own}))
        rows.append((task, f"{len(own):,}", sources or "-", str(len(instructions[task]))))
    show_table(("task", "examples to look at", "from", "instructions"), rows)
    typer.echo("Nothing was written.")


def _tell(report: InstructionReport, out: Path) -> None:
    rows = []
    for task in dict.fromkeys(task for side in report.kept.values() for task in side):
        sides = [f"{report.kept[side].get(task, 0):,}" for side in ("train", "valid", "test")]
        left = report.left_out.get(task, {})
        others = sum(left.values()) - left.get("grounded", 0)
        rows.append((task, *sides, str(left.get("grounded", 0)), str(others)))
    header = ("task", "train", "valid", "test", "ungrounded, left out", "by other filters")
    show_table(header, rows)
    lacking = [
        f"{party} never {how}"
        for party, counts in report.parties.items()
        for how, count in counts.items()
        if not count
    ]
    show_facts(
        {
            "teacher": report.teacher,
            "near-duplicates left out": f"{sum(report.duplicates.values()):,}",
            "titles known from training, left out": f"{sum(report.leaked.values()):,}",
            "each party read and written": "yes" if not lacking else ", ".join(lacking),
            "written to": str(out),
        }
    )
