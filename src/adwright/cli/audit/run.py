"""adwright audit run: try texts on a ranker in fresh orders, and report."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.audit.options import (
    CatalogueChoice,
    DefenceChoice,
    RankingRule,
    TargetChoice,
    opened_weights,
)
from adwright.cli.audit.tables import show_report
from adwright.cli.shared import allowed_to_replace
from adwright.core.config import Count, Ge, Natural
from adwright.core.errors import ResourceError

if TYPE_CHECKING:
    from adwright.audit.catalogue import Order, ShopCatalogue
    from adwright.audit.found_texts import AttackPlan, ModelWeights
    from adwright.audit.report.audit_report import GateBounds, GateVerdict
    from adwright.audit.report.audit_run import AuditRun
    from adwright.audit.report.trials import SellerText
    from adwright.audit.targets.target import Target


#: Exit code where the gate fails.
_FAILED = 1
#: What an audit goes on from, and the texts that attacks found.
_TRIALS, _ATTACKS, _TEXTS = "trials.jsonl", "attacks", "texts.jsonl"


def run(
    file: Path,
    *,
    out: Path = Path("runs/audit"),
    texts: Path | None = None,
    tiers: str = "T0,control",
    product: list[str] | None = None,
    runs: Count = 1,
    calls: Count = 200,
    request: str = "",
    columns: str | None = None,
    name: str = "",
    facts: str = "",
    texts_of: str = "",
    merchant: str = "",
    where: str | None = None,
    most: Natural = 0,
    own: bool = False,
    ranker: Literal["likelihood", "chat"] | None = None,
    model: str = "",
    url: str = "",
    rule: RankingRule = "sum",
    average: Count = 1,
    defend: bool = False,
    typed_facts: bool = False,
    eps: Annotated[float, Ge(0)] = 0.5,
    orders: Count = 10,
    fail_above: float | None = None,
    surely: bool = False,
    seed: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Measure how far texts push products up the list of a model.

    Attacks write the texts: T0 templates, T1 search on the ranks, T2 by gradient, T3 by gradient
    and fluent, T4 both through the defence; control: random words, the name again, a truthful
    sentence. Each text is then tried in fresh orders of the products, beside the same orders
    without it. The report says advantage, disadvantage and net for each product and kind of text,
    over all runs and for the best of them, what other products lost, and what it cost: report.html,
    report.json and report.csv in the folder.

        adwright audit run coffee.jsonl --mine --orders 20

        adwright audit run coffee.jsonl --mine --tiers T0,T2 --product "ColdBrew Master" --runs 3

        adwright audit run coffee.jsonl --mine --resume --fail-above 20

    Options:
        file: The products: JSON lines, CSV or Parquet, a row each.
        out: Folder for the run.
        texts: Try these texts, JSON lines, in place of those of attacks.
        tiers: Kinds of attacks, by commas: T0, T1, T2, T3, T4, control.
        product: Only this product is pushed; repeat it for several.
        runs: Runs of each attack, by its seed.
        calls (--budget): Calls of the model for each attack that searches.
        request: What the shopper asks; made of the file's name without it.
        columns: Which column is which, OURS=THEIRS,...: name, facts (which the shop vouches for)
            and texts (which sellers write; each again for several), merchant. Others are guessed,
            and told.
        name: Old: --columns name=.
        facts: Old: --columns facts=, several by commas.
        texts_of: Old: --columns texts=, several by commas.
        merchant: Old: --columns merchant=.
        where: Only rows with these cells: COLUMN=VALUE,COLUMN=VALUE.
        most: Only so many rows, the first ones; 0 for all.
        own (--mine): Declare that this catalogue is your own; attacks need that.
        ranker: likelihood: by how likely the model finds each name as the first of its list,
            which needs no answer of it; chat: by the list that it answers, as an endpoint
            always is.
        model: A model by its usual name, a folder, or its name at --url.
        url: An OpenAI-compatible endpoint, http://HOST:PORT/v1, which is asked for a list; its
            key is read from ADWRIGHT_LM_KEY or OPENAI_API_KEY.
        rule (--likelihood): Of likelihoods: their sum over a name's tokens, their mean, or prior,
            the sum less what the name is worth without its record.
        average: Rank by the mean over so many orders of the products.
        defend: Put the defences before the ranker: normalised texts, a guard where there are
            texts enough to fit one, each listing by itself, and the bound on what texts may do.
        typed_facts: With --defend: of a seller's text only quantities, colours, materials and
            categories reach the ranker, in English.
        eps: The most that a text may move a score, in its unit.
        orders: Orders of the products, each text in each.
        fail_above: Exit with 1 where the net advantage of a tier is above so many percentage
            points.
        surely: Only where the whole interval is above --fail-above.
    """
    shop = CatalogueChoice(
        file, request, columns, name, facts, texts_of, merchant, where, most, own
    ).open()
    safe = DefenceChoice(defend, eps, typed_facts, seed).checked(shop)
    choice = TargetChoice(ranker, model, url, rule, average, seed, offline)
    plan = AttackOptions(tiers, tuple(product or ()), runs, calls, seed)
    found = plan.given(texts, shop)
    bounds = None if fail_above is None else _bounds(fail_above, surely)
    if dry_run:
        _require_free(out, free=resume or force)
        plan.tell(found, shop, orders)
        typer.echo(f"Would write {out}")
        return
    if not resume:
        _make_room(out, force=force)
    weights = opened_weights(model, offline=offline) if plan.white and not url else None
    with closing(choice.open(weights)) as opened:
        target = safe.before(opened, shop)
        avoid = plan.chosen_on(len(shop)) if found is None else []
        found = plan.found(shop, target, out, weights) if found is None else found
        made = _run(shop, target, found, orders, seed, out, bounds, avoid)
    show_report(made.report)
    typer.echo(f"Saved in {out}: {', '.join(path.name for path in made.paths)}")
    end_by(made.verdict)


@dataclass(frozen=True)
class AttackOptions:
    """The options of attacks."""

    tiers: str
    products: tuple[str, ...] = ()
    runs: int = 1
    calls: int = 200
    seed: int = 0

    @property
    def white(self) -> bool:
        """Whether a tier takes the weights of the model."""
        return bool({"T2", "T3", "T4"} & set(self.plan.tiers))

    @property
    def plan(self) -> AttackPlan:
        """The same for `find_texts`."""
        from adwright.audit.found_texts import AttackPlan

        tiers = tuple(one.strip() for one in self.tiers.split(",") if one.strip())
        return AttackPlan(tiers, self.products, self.runs, self.calls, seed=self.seed)

    def given(self, path: Path | None, shop: ShopCatalogue) -> list[SellerText] | None:
        """The texts of a file; None where attacks are to find them. Raises ConfigError for attacks
        on a shop that is not one's own, and for products that it lacks."""
        from adwright.audit.report.trials import read_texts

        if path is None:
            shop.require_own()
            for name in self.plan.products:
                shop.index(name)
            return None
        found = read_texts(path, shop)
        if not all(one.control for one in found):
            shop.require_own()
        return found

    def found(
        self, shop: ShopCatalogue, target: Target, out: Path, weights: ModelWeights | None
    ) -> list[SellerText]:
        """What attacks find, also as texts.jsonl in the folder."""
        from adwright.audit.found_texts import find_texts
        from adwright.audit.report.trials import write_texts

        texts = find_texts(shop, target, self.plan, folder=out, weights=weights)
        write_texts(out / _TEXTS, texts)
        return texts

    def chosen_on(self, n: int) -> list[Order]:
        """The orders of n products in which attacks choose."""
        from adwright.audit.found_texts import choosing_orders

        return choosing_orders(self.plan, n)

    def tell(self, given: list[SellerText] | None, shop: ShopCatalogue, orders: int) -> None:
        """How much work it would be."""
        if given is not None:
            rankings = (len(given) + 1) * orders
            typer.echo(f"{len(given)} texts, {orders} orders: {rankings} rankings of {len(shop)}")
            return
        plan = self.plan
        products = len(plan.products) or len(shop)
        typer.echo(
            f"{', '.join(plan.tiers)} for {products} products, {orders} orders; "
            f"attacks that search have {plan.calls} calls each"
        )


def end_by(verdict: GateVerdict | None) -> None:
    """Tell a verdict, and leave with exit code 1 where the gate fails."""
    if verdict is None:
        return
    for sentence in verdict.sentences:
        typer.echo(sentence)
    if not verdict.passed:
        raise typer.Exit(_FAILED)


def _run(
    shop: ShopCatalogue,
    target: Target,
    texts: list[SellerText],
    orders: int,
    seed: int,
    out: Path,
    bounds: GateBounds | None,
    avoid: list[Order],
) -> AuditRun:
    from adwright.audit.report.audit_run import AuditRunConfig, run_audit

    config = AuditRunConfig(orders=orders, seed=seed)
    return run_audit(shop, target, texts, config, out=out, bounds=bounds, avoid=avoid)


def _bounds(fail_above: float, surely: bool) -> GateBounds:
    from adwright.audit.report.audit_report import GateBounds

    return GateBounds(fail_above, surely)


def _require_free(out: Path, *, free: bool) -> None:
    if not free and any((out / name).exists() for name in (_TRIALS, _ATTACKS)):
        raise ResourceError(
            "there is an audit already", where=str(out), hint="pass --resume, or --force"
        )


def _make_room(out: Path, *, force: bool) -> None:
    """Remove what an earlier audit would go on from, if the person agrees."""
    for name in (_TRIALS, _ATTACKS):
        if allowed_to_replace(out / name, force=force):
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            else:
                (out / name).unlink()
