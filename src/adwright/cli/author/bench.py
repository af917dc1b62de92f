"""adwright author bench and codes: what to know before a catalogue is written for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from adwright.cli.author.write import comma_list
from adwright.cli.lm.serve import DEFAULT_MODEL
from adwright.cli.shared import LmServer, Writing, allowed_to_replace, column_pairs, show_table
from adwright.core.config import Count, Natural


def bench(
    products: Path,
    *,
    slots: str = "headline,description",
    platform: Literal["google-rsa", "google-shopping", "meta", "amazon"] | None = None,
    sample: Count = 50,
    codes: Path | None = None,
    model: str = DEFAULT_MODEL,
    adapter: Path | None = None,
    served: LmServer = LmServer(),
    columns: str | None = None,
    locale: str = "en",
    currency: str = "",
    seed: Natural = 0,
    offline: bool = False,
    go: Writing = Writing(Path("bench")),
) -> None:
    """Is a model's free text better than texts by plan? The same products, the same checks.

    `adwright author write --by OUT` then writes in the way that was better: free text where it is
    usable more often than by plan, beyond the interval.

        adwright author bench shop.csv --server http://127.0.0.1:8001/v1 --served-model large

    Options:
        products: Table of products, as `adwright author write` takes it.
        out: Folder for bench.json.
        slots: What to write, with commas between.
        platform: Whose limits hold.
        sample: So many products, drawn by the seed.
        codes: Table of what the codes in names mean.
        columns: Which column is which: id=sku,title=name; attributes again for each.
        locale: Language of rows that do not tell theirs.
        currency: Of prices without one.
    """
    from adwright.authoring.plan.names import read_codes
    from adwright.authoring.writer.asking import open_writer
    from adwright.authoring.writer.bench import REPORT, bench_json, bench_ways
    from adwright.authoring.writer.config import WriteConfig
    from adwright.authoring.writer.products import read_products
    from adwright.core.atomic import atomic_write_text

    pairs = column_pairs(columns, several=("attributes",))
    facts = tuple(pairs.pop("attributes", ()))
    named = {ours: "".join(theirs) for ours, theirs in pairs.items()}
    table = read_products(
        products, columns=named, attributes=facts, locale=locale, currency=currency
    )
    known = tuple(sorted(read_codes(codes).items())) if codes else ()
    config = WriteConfig(
        comma_list(slots), codes=known, platform=platform or "", sample=sample, seed=seed
    )
    go.may_replace(REPORT)
    if go.dry_run:
        typer.echo(f"Would write for {min(sample, len(table.products)):,} products, in each way")
        return
    spec = served.spec(model, adapter=str(adapter or ""), offline=offline)
    with open_writer(spec, scores=True) as opened:
        found = bench_ways(table, config, opened)
    rows = [
        (
            one.way,
            f"{one.usable / one.texts:.1%} of {one.texts:,}",
            ", ".join(f"{rule} {count}" for rule, count in list(one.wrong.items())[:5]),
        )
        for one in found.rows
    ]
    show_table(("texts", "usable as they come", "what is wrong"), rows)
    lead, low, high = found.lead
    typer.echo(
        f"free less by plan: {lead:+.1%} ({low:+.1%} to {high:+.1%}); better: {found.better}"
    )
    go.out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(go.out / REPORT, bench_json(found))
    typer.echo(f"next: adwright author write {products} --by {go.out}")


def codes(
    products: Path,
    *,
    out: Path = Path("codes.csv"),
    columns: str | None = None,
    force: bool = False,
) -> None:
    """Propose what the codes in a catalogue's names mean, for a person to approve.

    A name such as PLSTC CTLRYTBL is left out by `adwright author write` until a person has written
    what its codes mean, and yes beside it. What was approved in an earlier table stays approved.

    Options:
        products: Table of products, as `adwright author write` takes it.
        out: Table to approve: code, expansion, count, approved.
        columns: Which column is which: id=sku,title=name.
    """
    from adwright.authoring.plan.names import proposed_codes, read_codes, write_codes
    from adwright.authoring.writer.products import read_products

    pairs = column_pairs(columns, several=("attributes",))
    facts = tuple(pairs.pop("attributes", ()))
    named = {ours: "".join(theirs) for ours, theirs in pairs.items()}
    table = read_products(products, columns=named, attributes=facts)
    kept = read_codes(out) if out.exists() else {}
    allowed_to_replace(out, force=force or bool(kept))
    found = proposed_codes(table.products)
    write_codes(out, found, kept)
    show_table(
        ("code", "may mean", "names"),
        [(code, may or "?", f"{count:,}") for code, may, count in found[:20]],
    )
    typer.echo(f"{len(found):,} codes in {out}: write yes beside what is right, then")
    typer.echo(f"next: adwright author write {products} --codes {out}")
