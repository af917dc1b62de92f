"""adwright author write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adwright.cli.author import options as given
from adwright.cli.lm.adapters import Adapter
from adwright.cli.lm.serve import DEFAULT_MODEL, Model, Threads
from adwright.cli.shared import DryRun, Offline, Seed, name_pairs, show_facts

if TYPE_CHECKING:
    from adwright.authoring.writer.config import WriteConfig
    from adwright.authoring.writer.report import WriteReport
    from adwright.authoring.writer.shop.products import ProductTable
    from adwright.lm.open_model import LmSpec

__all__ = ["write"]

#: Exit codes beside 0, of a job that is done, and 2, of a mistake.
SOME_FAILED, BUDGET_USED = 3, 4
#: Bad rows that are shown.
_SHOWN = 5

Out = Annotated[Path, typer.Argument(help="Folder of the job; made where it is missing.")]


def write(  # noqa: PLR0913, PLR0917 - one argument per option
    products: given.Products,
    out: Out,
    slots: given.Slots = "headline,description",
    platform: given.Platform = None,
    variants: given.Variants = 1,
    voice: given.Voice = None,
    labels: given.Labels = None,
    value: given.Values = None,
    value_columns: given.ValueColumns = None,
    instruction: given.Instructions = None,
    sample: given.Sample = 0,
    dry_run: DryRun = False,
    model: Model = DEFAULT_MODEL,
    engine: given.Engine = "auto",
    adapter: Adapter = None,
    server: given.Server = "",
    served_model: given.Served = "",
    concurrency: given.Concurrency = 0,
    threads: Threads = 0,
    offline: Offline = False,
    temperature: given.Temperature = 0.0,
    variety: given.Variety = 0.8,
    seed: Seed = 0,
    batch: given.Batch = 64,
    attempts: given.Attempts = 3,
    no_repair: given.NoRepair = False,
    rewrite: given.Rewrite = False,
    again: given.Again = False,
    over_edits: given.OverEdits = False,
    budget_tokens: given.BudgetTokens = 0,
    budget_seconds: given.BudgetSeconds = 0.0,
    budget_money: given.BudgetMoney = 0.0,
    price_prompt: given.PricePrompt = 0.0,
    price_answer: given.PriceAnswer = 0.0,
    price_cached: given.PriceCached = None,
    money: given.MoneyOf = "USD",
    shop: given.Shop = None,
    columns: given.Columns = None,
    attributes: given.Attributes = None,
    locale: given.Locale = "en",
    currency: given.ShopCurrency = "",
) -> None:
    """Write texts for all products of a table.

    What is written waits in the folder for review: `adwright author review OUT`, then `adwright
    author export OUT FILE`. The same command, given again, goes on where a job was interrupted,
    writes what is new or has changed, and leaves what a person decided on.

    Look first: `--dry-run` checks everything without asking a model, and `--sample 20` writes for
    20 products alone.

        adwright author write shop.csv out --slots headline,description --platform google-rsa

    Exit codes: 0 where all is written, 3 where some texts failed (`adwright author status OUT`
    tells why), 4 where the budget was used up, 2 for a mistake.
    """
    told = dict(locals())
    config, writer, table = _config(told), _model(told), _table(told)
    _say(table)
    _run(table, out, config, writer, dry_run=dry_run)


def _config(told: Mapping[str, Any]) -> WriteConfig:
    """The settings of the job. told: the options of `write`, by their names."""
    from adwright.authoring.writer.config import WriteBudget, WriteConfig, WriterPrices

    same = ("variants", "voice", "temperature", "variety", "seed", "batch", "attempts", "sample")
    columns = name_pairs("--value-columns", told["value_columns"]) or {}
    return WriteConfig(
        slots=given.comma_list(told["slots"]),
        platform=told["platform"] or "",
        labels=given.read_labels(told["labels"]),
        values=given.pairs_of("--value", told["value"]),
        value_columns=tuple(columns.items()),
        instructions=given.pairs_of("--instruction", told["instruction"]),
        repair=not told["no_repair"],
        budget=WriteBudget(told["budget_tokens"], told["budget_seconds"], told["budget_money"]),
        prices=WriterPrices(
            told["price_prompt"], told["price_answer"], told["price_cached"], told["money"]
        ),
        **{name: told[name] for name in (*same, "rewrite", "again", "over_edits")},
    )


def _table(told: Mapping[str, Any]) -> ProductTable:
    """The products."""
    from adwright.authoring.writer.shop.products import read_products

    return read_products(
        told["products"],
        shop=told["shop"],
        columns=name_pairs("--columns", told["columns"]),
        attributes=given.comma_list(told["attributes"]),
        locale=told["locale"],
        currency=told["currency"],
    )


def _model(told: Mapping[str, Any]) -> LmSpec:
    """What writes."""
    from adwright.lm.open_model import LmSpec

    return LmSpec(
        told["served_model"] or told["model"],
        adapter="" if told["adapter"] is None else str(told["adapter"]),
        url=told["server"],
        **{name: told[name] for name in ("engine", "concurrency", "threads", "offline")},
    )


def _say(table: ProductTable) -> None:
    """What a person should know of the table."""
    facts = {
        "products": f"{len(table.products):,} of {table.path}, read as {table.shop.name}",
        "columns": ", ".join(f"{ours} = {name}" for ours, name in table.columns.fields.items()),
    }
    show_facts(facts, err=True)
    for line in table.said:
        typer.echo(f"note: {line}", err=True)
    for bad in table.bad[:_SHOWN]:
        typer.echo(f"  row {bad.row} ({bad.product or 'without an id'}): {bad.reason}", err=True)
    if len(table.bad) > _SHOWN:
        typer.echo(f"  and {len(table.bad) - _SHOWN:,} more", err=True)


def _run(
    table: ProductTable, out: Path, config: WriteConfig, writer: LmSpec, *, dry_run: bool
) -> None:
    if dry_run:
        from adwright.authoring.writer.rehearsal import rehearse

        show_facts(rehearse(table, out, config, writer).facts())
        return
    from adwright.authoring.writer.engine.opened import open_writer
    from adwright.authoring.writer.job import run_job

    try:
        with open_writer(writer) as opened:
            report = run_job(table, out, config, opened)
    except KeyboardInterrupt:
        typer.echo("What is written is kept; the same command, given again, goes on.", err=True)
        raise
    _show(report, out)
    if report.end == "budget":
        raise typer.Exit(BUDGET_USED)
    if report.failed:
        raise typer.Exit(SOME_FAILED)


def _show(report: WriteReport, out: Path) -> None:
    """The figures of a run, and what to do next."""
    facts = {
        "written": f"{report.written:,} texts, {report.failed:,} failed, {report.left:,} left",
        "kept": f"{report.kept_same:,} that were there, {report.kept_human:,} by a person's word",
        "tokens": f"{report.prompt_tokens:,} read ({report.cached_tokens:,} from the cache), "
        f"{report.answer_tokens:,} written",
        "time": f"{report.seconds:,.1f} s, {report.cpu_seconds:,.1f} s of processors, "
        f"{report.texts_per_cpu_second:.2f} texts a CPU-second",
    }
    if report.cost:
        facts["cost"] = f"{report.cost:,.4f} {report.currency}"
    before, after = report.grounded["before"], report.grounded["after"]
    if before is not None and after is not None:
        facts["grounded"] = f"{before:.1%} of the texts before repair, {after:.1%} after"
    for rule, count in report.findings.items():
        facts[rule] = f"{count['before']:,} before repair, {count['after']:,} after"
    show_facts(facts)
    typer.echo(f"next: adwright author review {out}")
