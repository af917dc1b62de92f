"""adwright author write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from adwright.authoring.recipe import Profile
from adwright.authoring.writer.config import WriteBudget, WriterPrices
from adwright.cli.lm.serve import DEFAULT_MODEL
from adwright.cli.shared import (
    LmServer,
    Making,
    Writing,
    allowed_to_replace,
    column_pairs,
    name_pairs,
    show_facts,
    show_table,
)
from adwright.cli.tune import print_run, read_settings, show_tuned
from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.authoring.describe.report import RankerName
    from adwright.authoring.instructions.build import InstructionPlan, InstructionReport
    from adwright.authoring.writer.config import WriteConfig, WritingWay
    from adwright.authoring.writer.job import WriteReport
    from adwright.authoring.writer.products import ProductTable
    from adwright.lm.engine.generation import LanguageModel
    from adwright.lm.open_model import LmSpec


# --------------------------------------------------------------------------------------------------
# Options of the verbs of `adwright author`, and what they mean.


def comma_list(text: str | None) -> tuple[str, ...]:
    """The parts of a,b,c."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def pairs_of(option: str, given: list[str] | None) -> tuple[tuple[str, str], ...]:
    """The pairs of NAME=TEXT, each given by itself. option: whose they are, for the ConfigError."""
    found = []
    for one in given or ():
        name, sign, text = one.partition("=")
        if not sign or not name.strip() or not text.strip():
            raise ConfigError(f"{one[:60]!r} is no pair", where=option, hint="write NAME=TEXT")
        found.append((name.strip(), text.strip()))
    return tuple(found)


def read_labels(path: Path | None) -> tuple[str, ...]:
    """The lines of a file that are not blank, each once. Raises ConfigError where it cannot be
    read, or has none."""
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(
            f"the labels cannot be read: {why}", where=str(path), hint="a label a line, in UTF-8"
        ) from error
    labels = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not labels:
        raise ConfigError("the file has no label", where=str(path), hint="write a label a line")
    return labels


#: Exit codes beside 0, of a job that is done, and 2, of a mistake.
SOME_FAILED, BUDGET_USED = 3, 4
#: Bad rows that are shown.
_SHOWN = 5


def write(
    products: Path,
    *,
    out: Path,
    slots: str = "headline,description",
    by: str = "plan",
    judge: list[Path] | None = None,
    codes: Path | None = None,
    least_usable: Annotated[float, Ge(0), Le(1)] = 0.95,
    platform: Literal["google-rsa", "google-shopping", "meta", "amazon"] | None = None,
    variants: Annotated[int, Ge(1), Le(100)] = 1,
    voice: Path | None = None,
    labels: Path | None = None,
    train: str = "",
    value: list[str] | None = None,
    value_columns: str | None = None,
    instruction: list[str] | None = None,
    sample: Natural = 0,
    dry_run: bool = False,
    model: str = DEFAULT_MODEL,
    engine: Literal["auto", "openvino", "paged", "torch", "llamacpp"] = "auto",
    adapter: Path | None = None,
    served: LmServer = LmServer(),
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
    budget: WriteBudget = WriteBudget(),
    prices: WriterPrices = WriterPrices(),
    shop: Literal["shopify", "woocommerce", "google-feed", "table"] | None = None,
    columns: str | None = None,
    locale: str = "en",
    currency: str = "",
) -> None:
    """Write texts for all products of a table.

    By plan: the model chooses which facts, in which order and in which frame, among texts that are
    whole and say what the table says. `--by free` writes the model's own words, checked and mended.
    A product whose name nobody can say is left out, which is said.

    What is written waits in the folder for review: `adwright author review OUT`, then `adwright
    author export OUT FILE`. The same command, given again, goes on where a job was interrupted,
    writes what is new or has changed, and leaves what a person decided on.

    Look first: `--dry-run` checks everything without asking a model, and `--sample 20` writes for
    20 products alone.

        adwright author write shop.csv --out out --slots headline,description --platform google-rsa

    Exit codes: 0 where enough is usable, 3 where less than --least-usable of the texts are written
    and without an error (`adwright author status OUT` tells why), 4 where the budget was used up, 2
    for a mistake.

    Options:
        products: Table of products: .csv, .tsv, .jsonl or .parquet, as Shopify, WooCommerce or
            a Google feed has it, or with columns of your own; or a Google feed as .xml (RSS,
            Atom).
        out: Folder of the job; made where it is missing.
        slots: What to write, with commas between: headline, long_headline, primary_text,
            description, short_description, meta_description, title, category, intention, answer.
        by: plan; free, for the model's own words; or the folder of `adwright author bench`, for
            what was better there.
        judge: Run of `adwright creative train` that chooses among texts, in the model's place; may
            be repeated, then the mean of their ranks counts.
        codes: Table of what the codes in names mean, of `adwright author codes`.
        least_usable: Share of the texts that must be usable; below it the exit code is 3.
        platform: Whose limits hold. On google-rsa and meta, `description` is the text of an ad.
        variants: Texts of each slot, for A/B tests.
        voice: TOML file with the brand's voice: tone, banned, required, examples, locale.
        labels: File with the categories to choose from, one a line.
        train: Column in which some rows have their category, which teach that of the others: by
            words, letters or sentences, whichever validation prefers; or none is given.
        value: What else the model is told, NAME=TEXT: occasion=Easter; may be repeated.
        value_columns: The same, out of columns: query=search_term. `title` needs a query, `answer`
            a question, `intention` a behaviour, such as what was bought before.
        instruction: SLOT=TEXT: what the model is told for a slot, in the place of our words.
        sample: Only so many products, drawn by the seed; 0 for all.
        engine: auto takes OpenVINO where it can run the model, else paged, our own, which takes
            adapters.
        concurrency: Requests at a time to a server, or rows of the paged engine.
        temperature: Of first variants; 0 takes the likeliest token.
        variety: Temperature of further variants and attempts.
        batch: Products that are written at a time.
        attempts: Times that a text is asked for, at most.
        no_repair: Leave texts as they come; findings are noted.
        rewrite: Write anew what was written with other settings, but what a person decided on.
        again: Write rejected texts anew.
        over_edits: Write even over texts that a person edited or approved.
        tokens (--budget-tokens): Stop after so many tokens; 0 for no bound.
        seconds (--budget-seconds): Stop after so long; 0 for no bound.
        money (--budget-money): Stop when it has cost so much.
        prompt (--price-prompt): Of a million tokens of prompts.
        answer (--price-answer): Of a million tokens of answers.
        cached (--price-cached): Of a million tokens of prompts from a cache.
        prices.currency (--money): Currency of prices and budget.
        shop (--format): Whose columns these are; by default what they tell.
        columns: Which column is which: id=sku,title=name; also description, brand, category,
            price, currency, locale, and attributes (further facts; again for each).
        locale: Language of rows that do not tell theirs: en, de-AT.
        currency: Of prices without one: EUR.
    """
    told = dict(locals())
    config, writer, table = _config(told), _model(told), _table(told)
    _say(table)
    asked = _WritesBy(writer, tuple(judge or ()), least_usable)
    _run(table, out, config, asked, dry_run=dry_run)


def _config(told: Mapping[str, Any]) -> WriteConfig:
    """The settings of the job. told: the options of `write`, by their names."""
    from adwright.authoring.plan.names import read_codes
    from adwright.authoring.writer.config import WriteConfig

    same = ("variants", "voice", "temperature", "variety", "seed", "batch", "attempts")
    more = ("train", "sample", "budget", "prices", "rewrite", "again", "over_edits")
    columns = name_pairs("--value-columns", told["value_columns"]) or {}
    return WriteConfig(
        slots=comma_list(told["slots"]),
        platform=told["platform"] or "",
        labels=read_labels(told["labels"]),
        values=pairs_of("--value", told["value"]),
        value_columns=tuple(columns.items()),
        instructions=pairs_of("--instruction", told["instruction"]),
        repair=not told["no_repair"],
        by=_way(told["by"]),
        judge=", ".join(str(one) for one in told["judge"] or ()),
        codes=tuple(sorted(read_codes(told["codes"]).items())) if told["codes"] else (),
        **{name: told[name] for name in (*same, *more)},
    )


def _way(by: str) -> WritingWay:
    """Of plan, free, or the folder of a bench."""
    from adwright.authoring.writer.bench import better_way

    if by in ("plan", "free"):
        return "free" if by == "free" else "plan"
    return better_way(Path(by))


@dataclass(frozen=True)
class _WritesBy:
    """What writes, what chooses, and what share must be usable."""

    writer: LmSpec
    judges: tuple[Path, ...]
    least: float


def _table(told: Mapping[str, Any]) -> ProductTable:
    """The products."""
    pairs = column_pairs(told["columns"], several=("attributes",))
    more = {name: told[name] for name in ("shop", "locale", "currency")}
    return _products(told["products"], pairs, **more)


def _products(path: Path, pairs: dict[str, list[str]], **told: Any) -> ProductTable:
    """The products of a table. pairs: what its columns are called."""
    from adwright.authoring.writer.products import read_products

    attributes = tuple(pairs.pop("attributes", ()))
    columns = {ours: "".join(theirs) for ours, theirs in pairs.items()}
    return read_products(path, columns=columns, attributes=attributes, **told)


def _model(told: Mapping[str, Any]) -> LmSpec:
    """What writes."""
    served: LmServer = told["served"]
    return served.spec(
        told["model"],
        adapter="" if told["adapter"] is None else str(told["adapter"]),
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
    table: ProductTable, out: Path, config: WriteConfig, asked: _WritesBy, *, dry_run: bool
) -> None:
    if dry_run:
        from adwright.authoring.writer.exporting import rehearse

        show_facts(rehearse(table, out, config, asked.writer).facts())
        return
    from adwright.authoring.writer.asking import RULE, open_writer
    from adwright.authoring.writer.job import run_job
    from adwright.creative.judges import judge_of_texts

    judge = judge_of_texts(asked.judges) if asked.judges else None
    spec = asked.writer
    # A judge chooses, or what rows with labels teach: no model is asked.
    if config.by == "plan" and not config.labels and (judge is not None or config.train):
        spec = replace(spec, model=RULE, url="", engine="auto")
    try:
        with open_writer(spec, scores=config.by == "plan") as opened:
            report = run_job(table, out, config, opened, judge=judge)
    except KeyboardInterrupt:
        typer.echo("What is written is kept; the same command, given again, goes on.", err=True)
        raise
    _show(report, out)
    if report.end == "budget":
        raise typer.Exit(BUDGET_USED)
    if report.usable is not None and report.usable < asked.least:
        typer.echo(f"{report.usable:.1%} are usable, {asked.least:.0%} were asked for", err=True)
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
    if report.usable is not None:
        wanted = report.written + report.failed
        facts["usable"] = f"{report.usable:.1%} of {wanted:,} texts"
    if report.made:
        facts["made"] = ", ".join(f"{count:,} {how}" for how, count in report.made.items())
    if report.name_only:
        facts["the name alone"] = f"{report.name_only:,} texts, for which no fact fits"
    for why, many in report.left_out.items():
        facts[f"left out, {many:,}"] = why
    if report.cost:
        facts["cost"] = f"{report.cost:,.4f} {report.currency}"
    before, after = report.grounded["before"], report.grounded["after"]
    if before is not None and after is not None:
        facts["grounded"] = f"{before:.1%} of the texts before repair, {after:.1%} after"
    for rule, count in report.findings.items():
        facts[rule] = f"{count['before']:,} before repair, {count['after']:,} after"
    show_facts(facts)
    for line in report.said:
        if "accuracy" in line:
            typer.echo(line)
    typer.echo(f"next: adwright author review {out}")


# --------------------------------------------------------------------------------------------------
# adwright author data: instruction data out of a catalogue.

_EXTRA = ("cluster", "query", "intention")


def data(
    *,
    out: Path,
    catalogue: Path,
    columns: str | None = None,
    locale: str = "en",
    tasks: str = "ads,titles,classify,intent,answers,descriptions",
    held_out: str = "",
    most: Natural = 2000,
    valid: float = 0.1,
    test: float = 0.1,
    teacher: str = "",
    served: LmServer = LmServer(),
    drop_missing: bool = False,
    voice: Path | None = None,
    offline: bool = False,
    seed: Natural = 0,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Build instruction data for `adwright author tune`, out of a table of products.

    Categories, reasons to buy, attributes and descriptions are the table's; ads, titles and answers
    come from a teacher, or without one from a plan of each product's facts. Rows whose text has a
    number, brand or claim that is not in its input are left out, and counted in OUT/report.json. No
    product is in two of train, valid and test. With --voice each row, and the teacher, is told how
    the brand speaks, as `adwright author write` tells it, and texts with a word that it bans are
    left out.

    Example: `adwright author data --out rows --catalogue shop.csv --columns id=sku,title=name`.

    Options:
        out: Folder for train, valid and test, and the report.
        catalogue: A table of products: CSV, JSON lines, Parquet.
        columns: What its columns are called, id=sku,title=name; also description, brand,
            category, price, currency, attributes (again for each), cluster (rows of one product
            in other words), query (what was searched) and intention (why it is bought).
        locale: The language of the catalogue: de-AT.
        tasks: ads, titles, classify, intent, answers, descriptions, attributes.
        held_out: Tasks that go to test alone, for zero-shot.
        most: Rows of a task; 0 for all.
        valid: Share of the products to choose by.
        test: Share of the products to test with.
        teacher: A model that writes ads, titles and answers.
        drop_missing: Leave out descriptions with facts that their input lacks, instead of
            showing these.
        voice: TOML file with the brand's voice: tone, banned, required, examples, locale.
    """
    from adwright.authoring.checks.limits import BrandVoice
    from adwright.authoring.instructions.build import InstructionPlan, build_instructions
    from adwright.authoring.instructions.examples import ExtraColumns
    from adwright.core.config import load_toml

    pairs = column_pairs(columns, several=("attributes",))
    extra = {name: "".join(pairs.pop(name)) for name in _EXTRA if name in pairs}
    plan = InstructionPlan(
        tasks=comma_list(tasks),
        held_out=comma_list(held_out),
        extra=ExtraColumns(**extra),
        most=most,
        valid=valid,
        test=test,
        show_missing=not drop_missing,
        voice=None if voice is None else load_toml(voice, BrandVoice),
        seed=seed,
    )
    table = _products(catalogue, pairs, locale=locale)
    _say(table)
    if dry_run:
        _tell_examples(table, plan)
        return
    replacing = allowed_to_replace(out, force=force)
    with _taught_by(teacher, served, offline=offline) as model:
        report = build_instructions(plan, table, out, teacher=model, overwrite=replacing)
    _tell(report, out)


@contextmanager
def _taught_by(teacher: str, served: LmServer, *, offline: bool) -> Iterator[LanguageModel | None]:
    """The teacher, open for as long as the block lasts; None where none is named."""
    from adwright.lm.open_model import open_lm

    if teacher and served.server:
        hint = "name a local model, or an endpoint"
        raise ConfigError("there is one teacher", where="--teacher, --server", hint=hint)
    if bool(served.server) != bool(served.served_model):
        hint = "--server http://127.0.0.1:8001/v1 --served-model NAME"
        raise ConfigError("an endpoint and its model go together", where="--server", hint=hint)
    if not (teacher or served.server):
        yield None
        return
    with closing(open_lm(served.spec(teacher, offline=offline))) as model:
        yield model


def _tell_examples(table: ProductTable, plan: InstructionPlan) -> None:
    from adwright.authoring.instructions.examples import examples_of
    from adwright.authoring.instructions.rows import load_seeds

    found = list(examples_of(table, plan.tasks, plan.extra, seed=plan.seed))
    counts = Counter(one.request.task.name for one in found)
    rows = [(task, f"{counts[task]:,}", str(len(load_seeds(task)))) for task in plan.tasks]
    show_table(("task", "examples to look at", "instructions"), rows)
    typer.echo("Nothing was written.")


def _tell(report: InstructionReport, out: Path) -> None:
    rows = []
    for task in dict.fromkeys(task for side in report.kept.values() for task in side):
        sides = [f"{own.get(task, 0):,}" for own in report.kept.values()]
        left = report.left_out.get(task, {})
        others = sum(left.values()) - left.get("grounded", 0)
        rows.append((task, *sides, str(left.get("grounded", 0)), str(others)))
    header = ("task", *report.kept, "ungrounded, left out", "by other filters")
    show_table(header, rows)
    twice = f"{sum(report.duplicates.values()):,}"
    show_facts({"teacher": report.teacher, "twice, left out": twice, "written to": str(out)})


# --------------------------------------------------------------------------------------------------
# adwright author tune: one model for all tasks of authoring, or for one of them.

# Typer reads the annotations of a verb while it runs.


def tune(
    rows: Path,
    *,
    profile: Profile = "smollm2-135m-cpu",
    tasks: list[str] | None = None,
    model: str = "",
    method: str = "",
    settings: list[str] | None = None,
    epochs: Count | None = None,
    steps: Natural = 0,
    batch: Count | None = None,
    rate: float | None = None,
    max_length: Annotated[int, Ge(8)] | None = None,
    valid: float = 0.05,
    device: str | None = None,
    seed: Natural = 0,
    resume: bool = False,
    go: Writing = Writing(Path("runs/author")),
) -> None:
    """Tune a language model on instruction data and save the adapter in OUT/tuned.

    It is `adwright tune run` with what suits a size of model and a kind of machine, on the rows of
    all tasks or of some; products are held out whole. `adwright author write --adapter OUT/tuned`
    then writes with it.

    Options:
        rows: Folder that `adwright author data` wrote, or a file of its rows.
        out: Folder for the run and its adapter.
        profile: Size of model and kind of machine; those for GPUs were not run by us.
        tasks (--task): Tune on this task's rows alone; may be repeated.
        model: Another base: a folder, a .gguf file, or a name.
        method: One of `adwright tune methods`; LoRA by default.
        settings (--set): A setting of the method, NAME=VALUE in TOML: --set rank=8.
        epochs: Passes over the rows.
        steps: This many steps instead.
        batch: Rows per step.
        rate: Learning rate.
        max_length: Tokens per row.
        valid: Share of the product clusters that is held out.
        device: Where it is computed, as torch names it.
    """
    from adwright.authoring.recipe import AuthoringRecipe, tune_author, tune_run_of

    lengths = epochs, steps, rate, batch, max_length
    how = profile, tuple(tasks or ()), model, method, read_settings(settings or [])
    recipe = AuthoringRecipe(rows, *how, *lengths, valid, device, seed, go.out)
    if go.dry_run:
        print_run(tune_run_of(recipe))
        return
    replacing = resume or go.may_replace("tuned") or go.force
    report = tune_author(recipe, resume=resume, overwrite=replacing)
    rows_of = f"{report.texts:,}, {report.held:,} held out, {report.cut:,} cut"
    show_tuned(report, go.out, {"rows": rows_of})


# --------------------------------------------------------------------------------------------------
# adwright author evaluate: are the written descriptions better, by search and people?


def describe(
    catalogue: Path,
    queries: Path,
    judgements: Path,
    *,
    drafts: list[Path],
    slot: str = "description",
    variant: Natural = 0,
    rankers: str = "bm25,vectors",
    k: Count = 10,
    gain: Literal["exponential", "linear"] = "exponential",
    k1: Annotated[float, Ge(0)] = 1.2,
    b: Annotated[float, Ge(0), Le(1)] = 0.75,
    seen: Path | None = None,
    echo: Annotated[float, Ge(0.01), Le(1)] = 0.5,
    keep_echoes: bool = False,
    log: Path | None = None,
    reviews: Path | None = None,
    draws: Count = 1000,
    go: Making = Making(Path("described")),
) -> None:
    """Judge written descriptions by whether search finds their products, and by people.

    One catalogue is indexed by titles alone, with the original descriptions, with the written ones
    and with both; the same rankers answer the same queries. Queries that the writer had seen stand
    apart, and so do cold products; a description that echoes a query is left out.

    Options:
        catalogue: Table of products with the descriptions that they have now.
        queries: Table of query_id and query; with `seen` where the writer had some.
        judgements: Table of query_id, item_id and grade (0 is not relevant), or a .qrels.
        drafts: Folder of `adwright author write`; several: one a seed.
        out: New folder for report.json and leads.svg.
        slot: Which of the job's texts are judged.
        variant: Which variant of them.
        rankers: What answers the queries: bm25, vectors (MiniLM), or both.
        k: k of NDCG@k.
        gain: Worth of a grade: 2^grade - 1, or the grade.
        k1: BM25: worth of a word's second time.
        b: BM25: how much long texts are held back.
        seen (--training-queries): Table with a column `query`: what the writer was given.
        echo: From this share of a query's pairs of words on, with a word that no fact of the
            product has, a description echoes it.
        keep_echoes: Let descriptions that echo a query count.
        log: Events: products without an action in it are cold.
        reviews: Judgements of the blind review of `adwright author review`.
        draws: Draws of each interval.
    """
    from adwright.authoring.describe.queries import EchoConfig
    from adwright.authoring.describe.report import (
        DescribeConfig,
        DescribeSources,
        judge_descriptions,
    )
    from adwright.authoring.describe.search import SearchConfig
    from adwright.core.atomic import atomic_folder

    sources = DescribeSources(
        catalogue, queries, judgements, tuple(drafts), seen, log=log, reviews=reviews
    )
    search = SearchConfig(
        k=k,
        gain=gain,
        echo=EchoConfig(share=echo),
        echoes="keep" if keep_echoes else "drop",
        draws=draws,
        seed=go.seed,
    )
    config = DescribeConfig(
        slot=slot,
        variant=variant,
        rankers=_rankers(rankers),
        k1=k1,
        b=b,
        search=search,
        offline=go.offline,
    )
    replacing = not go.dry_run and go.may_replace()
    report = judge_descriptions(sources, config)
    typer.echo(report.text())
    if go.dry_run:
        typer.echo(f"\nWould write {go.out}")
        return
    with atomic_folder(go.out, overwrite=replacing) as folder:
        (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
        (folder / "leads.svg").write_text(report.svg(), encoding="utf-8")
    typer.echo(f"\nThe figures: {go.out / 'report.json'}\nThe picture: {go.out / 'leads.svg'}")


def _rankers(text: str) -> tuple[RankerName, ...]:
    from adwright.authoring.describe.report import RankerName

    allowed: tuple[RankerName, ...] = get_args(RankerName)
    asked = [one.strip() for one in text.split(",") if one.strip()]
    for one in asked:
        if one not in allowed:
            raise ConfigError(
                f"there is no ranker {one!r}",
                where="--rankers",
                hint=f"name {' or '.join(allowed)}, or both with a comma",
            )
    return tuple(one for one in allowed if one in asked)
