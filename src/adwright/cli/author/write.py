"""adwright author write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from adwright.cli.author import options as given
from adwright.cli.lm.serve import DEFAULT_MODEL
from adwright.cli.shared import column_pairs, name_pairs, show_facts
from adwright.core.config import Count, Ge, Le, Natural

if TYPE_CHECKING:
    from adwright.authoring.writer.config import WriteConfig
    from adwright.authoring.writer.job import WriteReport
    from adwright.authoring.writer.products import ProductTable
    from adwright.lm.open_model import LmSpec


#: Exit codes beside 0, of a job that is done, and 2, of a mistake.
SOME_FAILED, BUDGET_USED = 3, 4
#: Bad rows that are shown.
_SHOWN = 5


def write(
    products: Path,
    *,
    out: Path,
    slots: str = "headline,description",
    platform: Literal["google-rsa", "google-shopping", "meta", "amazon"] | None = None,
    variants: Annotated[int, Ge(1), Le(100)] = 1,
    voice: Path | None = None,
    labels: Path | None = None,
    value: list[str] | None = None,
    value_columns: str | None = None,
    instruction: list[str] | None = None,
    sample: Natural = 0,
    dry_run: bool = False,
    model: str = DEFAULT_MODEL,
    engine: Literal["auto", "openvino", "paged", "torch", "llamacpp"] = "auto",
    adapter: Path | None = None,
    server: str = "",
    served_model: str = "",
    concurrency: Natural = 0,
    threads: Natural = 0,
    offline: bool = False,
    temperature: Annotated[float, Ge(0)] = 0.0,
    variety: Annotated[float, Ge(0)] = 0.8,
    seed: Natural = 0,
    batch: Count = 64,
    attempts: Count = 3,
    no_repair: bool = False,
    rewrite: bool = False,
    again: bool = False,
    over_edits: bool = False,
    budget_tokens: Natural = 0,
    budget_seconds: Annotated[float, Ge(0)] = 0.0,
    budget_money: Annotated[float, Ge(0)] = 0.0,
    price_prompt: Annotated[float, Ge(0)] = 0.0,
    price_answer: Annotated[float, Ge(0)] = 0.0,
    price_cached: Annotated[float, Ge(0)] | None = None,
    money: str = "USD",
    shop: Literal["shopify", "woocommerce", "google-feed", "table"] | None = None,
    columns: str | None = None,
    attributes: str | None = None,
    locale: str = "en",
    currency: str = "",
) -> None:
    """Write texts for all products of a table.

    What is written waits in the folder for review: `adwright author review OUT`, then `adwright
    author export OUT FILE`. The same command, given again, goes on where a job was interrupted,
    writes what is new or has changed, and leaves what a person decided on.

    Look first: `--dry-run` checks everything without asking a model, and `--sample 20` writes for
    20 products alone.

        adwright author write shop.csv --out out --slots headline,description --platform google-rsa

    Exit codes: 0 where all is written, 3 where some texts failed (`adwright author status OUT`
    tells why), 4 where the budget was used up, 2 for a mistake.

    Options:
        products: Table of products: .csv, .tsv, .jsonl or .parquet, as Shopify, WooCommerce or
            a Google feed has it, or with columns of your own; or a Google feed as .xml (RSS,
            Atom).
        out: Folder of the job; made where it is missing.
        slots: What to write, with commas between: headline, long_headline, primary_text,
            description, short_description, meta_description, title, category.
        platform: Whose limits hold. On google-rsa and meta, `description` is the text of an ad.
        variants: Texts of each slot, for A/B tests.
        voice: TOML file with the brand's voice: tone, banned, required, examples, locale.
        labels: File with the categories to choose from, one a line.
        value: What else the model is told, NAME=TEXT: occasion=Easter; may be repeated.
        value_columns: The same, out of columns: query=search_term; `title` needs a query.
        instruction: SLOT=TEXT: what the model is told for a slot, in the place of our words.
        sample: Only so many products, drawn by the seed; 0 for all.
        model: The default model, a folder, a .gguf file, OWNER/NAME on the hub, or a model of a
            server, http://HOST:PORT/v1#NAME; with settings as in FOLDER+adapter=FOLDER.
        engine: auto takes OpenVINO where it can run the model, else paged, our own, which takes
            adapters.
        adapter: Answer with this saved adapter of the model: what `adwright tune run` wrote, or
            the `tuned` in it; on torch.
        server (--url --server): Ask an OpenAI-compatible server instead: http://HOST:PORT/v1;
            its key is read from ADWRIGHT_LM_KEY or OPENAI_API_KEY.
        served_model: Name of the model there.
        concurrency: Requests at a time to a server, or rows of the paged engine.
        threads: Threads to compute with; 0 takes what fits.
        temperature: Of first variants; 0 takes the likeliest token.
        variety: Temperature of further variants and attempts.
        batch: Products that are written at a time.
        attempts: Times that a text is asked for, at most.
        no_repair: Leave texts as they come; findings are noted.
        rewrite: Write anew what was written with other settings, but what a person decided on.
        again: Write rejected texts anew.
        over_edits: Write even over texts that a person edited or approved.
        budget_tokens: Stop after so many tokens; 0 for no bound.
        budget_seconds: Stop after so long; 0 for no bound.
        budget_money: Stop when it has cost so much.
        price_prompt: Of a million tokens of prompts.
        price_answer: Of a million tokens of answers.
        price_cached: Of a million tokens of prompts from a cache.
        money: Currency of prices and budget.
        shop (--format): Whose columns these are; by default what they tell.
        columns: Which column is which: id=sku,title=name; also description, brand, category,
            price, currency, locale, and attributes (further facts; again for each).
        attributes: Old: --columns attributes=, several by commas.
        locale: Language of rows that do not tell theirs: en, de-AT.
        currency: Of prices without one: EUR.
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
    from adwright.authoring.writer.products import read_products

    pairs = column_pairs(told["columns"], several=("attributes",))
    attributes = (*pairs.pop("attributes", ()), *given.comma_list(told["attributes"]))
    return read_products(
        told["products"],
        shop=told["shop"],
        columns={ours: "".join(theirs) for ours, theirs in pairs.items()},
        attributes=attributes,
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
        from adwright.authoring.writer.exporting import rehearse

        show_facts(rehearse(table, out, config, writer).facts())
        return
    from adwright.authoring.writer.asking import open_writer
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
