"""adwright audit run: try texts on a ranker in fresh orders, and report."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.audit.options import (
    Average,
    CatalogueChoice,
    CatalogueFile,
    FactColumns,
    MerchantColumn,
    Most,
    NameColumn,
    Own,
    RankerKind,
    RankerModel,
    RankerUrl,
    RuleOption,
    ShopperRequest,
    TargetChoice,
    TextColumns,
    Where,
)
from adwright.cli.audit.tables import show_report
from adwright.cli.shared import DryRun, Force, Offline, Resume, Seed, allowed_to_replace
from adwright.core.errors import ResourceError

if TYPE_CHECKING:
    from adwright.audit.report.gate import GateVerdict

__all__ = ["FailAbove", "Surely", "end_by", "run"]

#: Exit code where the gate fails.
_FAILED = 1
FailAbove = Annotated[
    float | None,
    typer.Option(
        "--fail-above",
        help="Exit with 1 where the net advantage of a tier is above so many percentage points.",
    ),
]
Surely = Annotated[
    bool, typer.Option("--surely", help="Only where the whole interval is above --fail-above.")
]


def run(  # noqa: PLR0913, PLR0917 - one argument per option
    file: CatalogueFile,
    texts: Annotated[
        Path, typer.Option("--texts", help="Texts to try, as attacks write them: JSON lines.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/audit"),
    request: ShopperRequest = "",
    name: NameColumn = "",
    facts: FactColumns = "",
    texts_of: TextColumns = "",
    merchant: MerchantColumn = "",
    where: Where = None,
    most: Most = 0,
    own: Own = False,
    ranker: RankerKind = None,
    model: RankerModel = "",
    url: RankerUrl = "",
    rule: RuleOption = "sum",
    average: Average = 1,
    orders: Annotated[
        int, typer.Option("--orders", min=1, help="Orders of the products, each text in each.")
    ] = 10,
    fail_above: FailAbove = None,
    surely: Surely = False,
    seed: Seed = 0,
    offline: Offline = False,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Measure how far texts push products up the list of a model.

    Each text is tried in fresh orders of the products, beside the same orders without it. The
    report says advantage, disadvantage and net for each product and kind of text, over all runs and
    for the best of them, what other products lost, and what it cost: report.html, report.json and
    report.csv in the folder. A text is a line of JSON with product, field, text and tier.

        adwright audit run coffee.jsonl --own --texts texts.jsonl --orders 20

        adwright audit run coffee.jsonl --own --texts texts.jsonl --resume --fail-above 20
    """
    from adwright.audit.report.audit_run import TRIALS, AuditRunConfig, run_audit
    from adwright.audit.report.gate import GateBounds
    from adwright.audit.report.texts import read_texts

    shop = CatalogueChoice(file, request, name, facts, texts_of, merchant, where, most, own).open()
    found = read_texts(texts, shop)
    if not all(one.control for one in found):
        shop.require_own()
    bounds = None if fail_above is None else GateBounds(fail_above, surely)
    config = AuditRunConfig(orders=orders, seed=seed)
    choice = TargetChoice(ranker, model, url, rule, average, seed, offline)
    if dry_run:
        _require_free(out / TRIALS, free=resume or force)
        rankings = (len(found) + 1) * orders * average
        typer.echo(f"{len(found)} texts, {orders} orders: {rankings} rankings of {len(shop)}")
        typer.echo(f"Would write {out}")
        return
    if not resume and allowed_to_replace(out / TRIALS, force=force):
        (out / TRIALS).unlink()
    with closing(choice.open()) as target:
        made = run_audit(shop, target, found, config, out=out, bounds=bounds)
    show_report(made.report)
    typer.echo(f"Saved in {out}: {', '.join(path.name for path in made.paths)}")
    end_by(made.verdict)


def end_by(verdict: GateVerdict | None) -> None:
    """Tell a verdict, and leave with exit code 1 where the gate fails."""
    if verdict is None:
        return
    for sentence in verdict.sentences:
        typer.echo(sentence)
    if not verdict.passed:
        raise typer.Exit(_FAILED)


def _require_free(path: Path, *, free: bool) -> None:
    if path.exists() and not free:
        raise ResourceError(
            "there is an audit already", where=str(path), hint="pass --resume, or --force"
        )
