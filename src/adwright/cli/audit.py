"""adwright audit: how far a text can push a product up a model's list, and how to bound it."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from adwright.cli.audit_options import (
    DefenceChoice,
    RankingRule,
    TargetChoice,
    guarded_by,
    language_model,
    open_shop,
)
from adwright.cli.shared import (
    LmServer,
    Training,
    allowed_to_replace,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.config import Count, Natural
from adwright.core.errors import ArtifactError, ConfigError, ResourceError

if TYPE_CHECKING:
    from adwright.audit.catalogue import ShopCatalogue, ShopListing
    from adwright.audit.certificate.certificate import (
        BoundedScores,
        RankCertificate,
    )
    from adwright.audit.found_texts import ModelWeights
    from adwright.audit.report.audit_report import AuditReport, GateVerdict
    from adwright.audit.targets.target import Target
    from adwright.metrics.bootstrap import Interval


#: Exit codes: a gate fails, or a catalogue is another; nobody says who should have signed.
_FAILED, _UNKNOWN = 1, 3

#: Options under the names that they had before.
WAS = {
    "--calls": "--budget",
    "--own": "--mine",
    "--rule": "--likelihood",
    "--name": "--columns name=",
    "--facts": "--columns facts=,",
    "--texts-of": "--columns texts=,",
    "--merchant": "--columns merchant=",
}


# --------------------------------------------------------------------------------------------------
# adwright audit ask: an assistant of the shop answers, as a shopper would see it.


def ask(
    file: Path,
    request: str,
    *,
    k: Count = 3,
    shown: Count = 10,
    columns: str | None = None,
    model: str = "",
    served: LmServer = LmServer(),
    rule: RankingRule = "sum",
    average: Count = 1,
    reasons: bool = True,
    seed: Natural = 0,
    offline: bool = False,
) -> None:
    """Let a model answer a shopper: it finds products, ranks them and says why.

    It can name nothing but products of the catalogue, and a reason that claims what no fact of the
    shop supports is left out.

        adwright audit ask coffee.jsonl "an espresso machine for two"

    Options:
        file: The products: JSON lines, CSV or Parquet, a row each.
        request: What the shopper asks.
        k (-k): Products in the answer.
        shown: Products that are found, by words, and ranked.
        columns: Which column is which, OURS=THEIRS,...: name, facts (which the shop vouches for)
            and texts (which sellers write; each again for several), merchant. Others are guessed,
            and told.
        model: A model by its usual name, or a folder.
        rule (--likelihood): Of likelihoods: their sum over a name's tokens, their mean, or prior,
            the sum less what the name is worth without its record; a server is asked for a list.
        average: Rank by the mean over so many orders of the products.
        reasons (--reasons/--facts-alone): Whether the model writes reasons.
    """
    from adwright.audit.assistant import ShopAssistant
    from adwright.audit.targets.chat import ChatTarget, ChatTargetConfig
    from adwright.audit.targets.likelihood import LikelihoodConfig, LikelihoodTarget
    from adwright.audit.targets.target import AveragedTarget
    from adwright.lm.open_model import open_lm

    shop = open_shop(file, request, columns)
    spec = served.spec(model, offline=offline)
    with closing(open_lm(language_model(spec.model, spec.url, offline=offline))) as opened:
        target: Target = LikelihoodTarget(opened, LikelihoodConfig(rule=rule))
        if served.server:
            target = ChatTarget(opened, ChatTargetConfig(seed=seed))
        if average > 1:
            target = AveragedTarget(target, average, seed=seed)
        assistant = ShopAssistant(shop, target, model=opened if reasons else None, shown=shown)
        typer.echo(assistant.answer(request, k=k, seed=seed).text())


# --------------------------------------------------------------------------------------------------
# adwright audit certify: what any text can do to a rank, bounded, computed and signed.


def certify(
    file: Path,
    *,
    out: Path = Path("certificate.json"),
    key: Path = Path("audit.pem"),
    safe: DefenceChoice,
    facts_by: str = "",
    grades: str = "",
    curve: Path = Path("curve"),
    colluders: Natural = 0,
    added: Natural = 2,
    request: str = "",
    columns: str | None = None,
    where: str | None = None,
    most: Natural = 0,
    ranker: Literal["likelihood", "embedding", "mixture", "endpoint"] = "likelihood",
    model: str = "",
    served: LmServer = LmServer(),
    rule: RankingRule = "sum",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Certify how far any text can move each product, where a text moves its score by at most eps.

    A product's score is that of its facts, and what its own text adds, clipped to eps, each scored
    by itself. So the best and the worst rank that texts can bring are known exactly, also for
    products that work together and where others join, and stand in a signed file that anybody can
    check. --defend scores the texts as the defences leave them, as in an audit with it. A text that
    the ranker cannot read counts as -eps, and its product is named.

        adwright audit certify coffee.jsonl --facts-by Rating

        adwright audit certify coffee.jsonl --ranker mixture --added 3

        adwright audit certify coffee.jsonl --ranker endpoint --server http://127.0.0.1:8080/v1

        adwright audit certify coffee.jsonl --grades Rating --curve runs/curve

    Options:
        file: The products: JSON lines, CSV or Parquet, a row each.
        out: The signed certificate, JSON.
        key: Private key (Ed25519, PEM); made where none is there.
        facts_by: Column of numbers that ranks the facts, such as a rating; without it the ranker
            scores listings without texts.
        grades: Column of numbers, how good a product is: shows what other bounds would cost and
            buy.
        curve: Folder of the picture and table of --grades.
        colluders: Products that may work together; 0 for two, or as many as the largest merchant
            has.
        added: Products that may join the list.
        request: What the shopper asks; made of the file's name without it.
        columns: Which column is which, OURS=THEIRS,...: name, facts (which the shop vouches for)
            and texts (which sellers write; each again for several), merchant. Others are guessed,
            and told.
        where: Only rows with these cells: COLUMN=VALUE,COLUMN=VALUE.
        most: Only so many rows, the first ones; 0 for all.
        ranker: likelihood: how likely the model finds the name behind the product's record;
            embedding: vectors of request and product; mixture: BM25 and vectors; endpoint: what
            POST SERVER/rerank answers to a request and one product, as servers of cross-encoders
            do.
        model: A model by its usual name, a folder, or its name at --url.
        rule (--likelihood): Of likelihoods: their sum over a name's tokens, their mean, or prior,
            the sum less what the name is worth without its record.
    """
    from adwright.audit.certificate.certificate import (
        make_certificate,
        make_key,
        read_key,
        write_signed,
    )
    from adwright.audit.defences.stack import BoundedTarget, IsolatedTarget
    from adwright.core.clock import SystemClock

    shop = open_shop(file, request, columns, where, most)
    by_column = _by_column(shop, facts_by, "--facts-by") if facts_by else None
    graded = _by_column(shop, grades, "--grades") if grades else None
    safe.check(shop)
    allowed_to_replace(out, force=force)
    signer = read_key(key) if key.exists() else make_key(key)
    with closing(_certified_ranker(ranker, shop, model, served, rule, offline=offline)) as opened:
        alone = IsolatedTarget(opened)
        facts = IsolatedTarget(by_column) if by_column else alone
        bounded = BoundedTarget(facts, alone, safe.bound(facts, shop))
        read, behind = safe.cleaned(shop)
        scores = bounded.scores(read, shop.request)
        sizes = Counter(one.merchant for one in shop.listings if one.merchant)
        made = make_certificate(
            shop.name,
            shop.request,
            shop.names,
            scores,
            ranker=bounded.name + behind,
            made=SystemClock().now(),
            colluders=colluders or max(2, *sizes.values(), 2),
            added=added,
            digest=shop.digest_of_set(),
        )
    for name in bounded.broken:
        typer.echo(f"The text of {name!r} cannot be read, and counts as -eps.", err=True)
    write_signed(made, signer, out)
    _show(made)
    if graded is not None:
        _show_curve(shop, scores, graded, curve)
    typer.echo(f"Saved {out}, signed by {signer.public}")


def _certified_ranker(
    kind: Literal["likelihood", "embedding", "mixture", "endpoint"],
    shop: ShopCatalogue,
    model: str,
    served: LmServer,
    rule: RankingRule,
    *,
    offline: bool,
) -> Target:
    """What scores one product by itself."""
    if kind == "endpoint":
        from adwright.audit.targets.search import endpoint_target
        from adwright.lm.engine.http import HttpModel
        from adwright.lm.open_model import open_lm

        opened = open_lm(served.spec(model))
        if not isinstance(opened, HttpModel):
            raise ConfigError(
                "which server scores the products?",
                where="--ranker endpoint",
                hint="add --server http://HOST:PORT/v1",
            )
        return endpoint_target(opened, served.served_model or model)
    if served.server:
        raise ConfigError(
            "a server scores products as an endpoint",
            where=f"--server {served.server}",
            hint="add --ranker endpoint",
        )
    if kind == "likelihood":
        return TargetChoice("likelihood", model, rule=rule).open(offline=offline)
    from adwright.audit.targets.search import search_target

    return search_target(kind, shop, offline=offline)


def verify(
    file: Path,
    *,
    public_key: str = "",
    catalogue: Path | None = None,
    columns: str | None = None,
    script: bool = False,
) -> None:
    """Check the signature of a certificate, and compute its bounds again.

    It exits with 3 where nobody says who should have signed it, and with 1 where the catalogue is
    another one.

        adwright audit verify certificate.json --public-key 3f1c00d2a94be8f7

    Options:
        file: A signed certificate.
        public_key: Of who should have signed it, hexadecimal; its first 16 digits do.
        catalogue: Compare it with these products, whose order has no say.
        columns: Of the catalogue, as `certify` was told.
        script: Print the script that checks it without adwright.
    """
    from adwright.audit.certificate.certificate import (
        read_signed,
        verifier_source,
    )

    if script:
        typer.echo(verifier_source(), nl=False)
        return
    found = read_signed(file, public_key=public_key or None)
    _show(found)
    typer.echo("The signature holds, and every bound follows from the scores.")
    if catalogue is not None:
        shop = open_shop(catalogue, found.request, columns)
        if shop.digest_of_set() != found.digest:
            new, gone = set(shop.names) - set(found.names), set(found.names) - set(shop.names)
            typer.echo(
                f"The catalogue is another one than was certified: {len(new)} products new, "
                f"{len(gone)} gone; of the others a fact or a text changed if both are 0."
            )
            raise typer.Exit(_FAILED)
        typer.echo("The catalogue is the one that was certified.")
    if not public_key:
        typer.echo(
            "WARNING: the signer is unknown: anybody can sign with a key of their own. Ask for the "
            "key of who should have signed, and pass it as --public-key.",
            err=True,
        )
        raise typer.Exit(_UNKNOWN)


def _show_curve(shop: ShopCatalogue, scores: BoundedScores, graded: Target, folder: Path) -> None:
    """What other bounds would cost and buy, where the grades are those of a column."""
    import numpy as np

    from adwright.audit.certificate.curve import (
        GradedList,
        bound_curve,
        curve_table,
        epsilons,
        write_curve,
    )
    from adwright.audit.targets.target import Ask

    (found,) = graded.rank([Ask(shop.listings, shop.request, range(len(shop)))])
    grades = np.array(found.scores)
    lists = [GradedList(scores.facts, scores.texts, grades - grades.min())]
    points = bound_curve(lists, sorted({*epsilons(lists), scores.eps}))
    typer.echo(curve_table(points, chosen=scores.eps))
    typer.echo(f"Saved {write_curve(points, folder, chosen=scores.eps)}")


def _by_column(shop: ShopCatalogue, column: str, option: str) -> Target:
    """Ranks by a column of numbers. Raises ConfigError where it is no fact, or holds others."""
    from adwright.audit.targets.target import FunctionTarget

    def number(listing: ShopListing) -> float:
        value = listing.attributes.get(column)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(
                "this takes a column of numbers",
                where=f"{option} {column}, {listing.name}: {value!r}"[:120],
                hint=f"the facts of a product are {', '.join(listing.attributes) or 'none'}",
            )
        return float(value)

    for one in shop.listings:
        number(one)
    return FunctionTarget(
        lambda listings, request: [number(one) for one in listings], name=f"column {column}"
    )


def _show(one: RankCertificate) -> None:
    from adwright.audit.report.audit_report import visible

    typer.echo(visible(one.in_words()))
    together = f"of {one.colluders} together"
    header = ("product", "rank", "best", "worst", f"best {together}", f"worst {together}",
              f"and {one.added} more join")  # fmt: skip
    joined = tuple(rank + one.added for rank in one.worst_together)
    columns = (one.names, one.rank, one.best, one.worst, one.best_together, one.worst_together,
               joined)  # fmt: skip
    rows = sorted(zip(*columns, strict=True), key=lambda row: (row[1], row[0]))
    show_table(header, [[visible(str(cell), 60) for cell in row] for row in rows], unbroken=True)


# --------------------------------------------------------------------------------------------------
# A report of an audit on the terminal.


def show_report(report: AuditReport) -> None:
    """Print its first sentences, and a table of the tiers."""
    from adwright.audit.report.audit_report import visible

    for sentence in report.sentences()[:2]:
        typer.echo(sentence)
    header = ("tier", "texts", "net", "best run", "first before", "first after", "others lost")
    rows = [
        (
            visible(one.tier, 40),
            str(one.runs),
            _points(one.net),
            "" if one.best is None else _points(one.best),
            f"{one.first_before.value:.0%}",
            f"{one.first_after.value:.0%}",
            f"{one.harm.value:.2f}",
        )
        for one in report.tiers
    ]
    show_table(header, rows, unbroken=True)


def _points(one: Interval) -> str:
    value, low, high = 100 * one.value, 100 * one.low, 100 * one.high
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


# --------------------------------------------------------------------------------------------------
# adwright audit run: try texts on a ranker in fresh orders, and report.

#: What an audit goes on from, and the texts that attacks found.
_KEPT, _TEXTS = ("trials.jsonl", "attacks"), "texts.jsonl"


def run(
    file: Path,
    *,
    texts: Path | None = None,
    tiers: str = "T0,control",
    product: list[str] | None = None,
    runs: Count = 1,
    calls: Count = 200,
    request: str = "",
    columns: str | None = None,
    where: str | None = None,
    most: Natural = 0,
    own: bool = False,
    ranker: TargetChoice,
    safe: DefenceChoice,
    orders: Count = 10,
    fail_above: float | None = None,
    surely: bool = False,
    go: Training = Training(Path("runs/audit")),
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
        texts: Try these texts, JSON lines, in place of those of attacks.
        tiers: Kinds of attacks, by commas: T0, T1, T2, T3, T4, control.
        product: Only this product is pushed; repeat it for several.
        runs: Runs of each attack, by its seed.
        calls (--budget): Calls of the model for each attack that searches.
        request: What the shopper asks; made of the file's name without it.
        columns: Which column is which, OURS=THEIRS,...: name, facts (which the shop vouches for)
            and texts (which sellers write; each again for several), merchant. Others are guessed,
            and told.
        where: Only rows with these cells: COLUMN=VALUE,COLUMN=VALUE.
        most: Only so many rows, the first ones; 0 for all.
        own (--mine): Declare that this catalogue is your own; attacks need that.
        orders: Orders of the products, each text in each.
        fail_above: Exit with 1 where the net advantage of a tier is above so many percentage
            points.
        surely: Only where the whole interval is above --fail-above.
    """
    from adwright.audit.catalogue import Order
    from adwright.audit.found_texts import AttackPlan, choosing_orders, find_texts
    from adwright.audit.report.audit_report import AuditRunConfig, GateBounds, run_audit
    from adwright.audit.report.trials import read_texts, write_texts

    shop = open_shop(file, request, columns, where, most, own=own)
    safe.check(shop)
    kinds = tuple(one.strip() for one in tiers.split(",") if one.strip())
    plan = AttackPlan(kinds, tuple(product or ()), runs, calls, seed=go.seed)
    found = None if texts is None else read_texts(texts, shop)
    if found is None:
        for name in plan.products:
            shop.index(name)
    if found is None or not all(one.control for one in found):
        shop.require_own()
    bounds = None if fail_above is None else GateBounds(fail_above, surely)
    if go.dry_run:
        if not (go.resume or go.force) and any((go.out / one).exists() for one in _KEPT):
            raise ResourceError(
                "there is an audit already", where=str(go.out), hint="pass --resume, or --force"
            )
        if found is None:
            typer.echo(
                f"{', '.join(plan.tiers)} for {len(plan.products) or len(shop)} products, {orders} "
                f"orders; attacks that search have {plan.calls} calls each"
            )
        else:
            rankings = (len(found) + 1) * orders
            typer.echo(f"{len(found)} texts, {orders} orders: {rankings} rankings of {len(shop)}")
        typer.echo(f"Would write {go.out}")
        return
    for one in _KEPT:
        if go.may_replace(one):
            old = go.out / one
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    weights = None
    if {"T2", "T3", "T4"} & set(kinds) and not ranker.url:
        weights = _weights(ranker.model, offline=go.offline)
    opened = ranker.open(weights, seed=go.seed, offline=go.offline)
    with closing(opened):
        target, avoid = safe.before(opened, shop, seed=go.seed), list[Order]()
        if found is None:
            avoid = choosing_orders(plan, len(shop))
            found = find_texts(shop, target, plan, folder=go.out, weights=weights)
            write_texts(go.out / _TEXTS, found)
        config = AuditRunConfig(orders=orders, seed=go.seed)
        made = run_audit(shop, target, found, config, out=go.out, bounds=bounds, avoid=avoid)
    show_report(made.report)
    typer.echo(f"Saved in {go.out}: {', '.join(path.name for path in made.paths)}")
    end_by(made.verdict)


def _weights(model: str, *, offline: bool) -> ModelWeights:
    """The weights of a model on this machine, for attacks by gradient."""
    from adwright.audit.found_texts import ModelWeights
    from adwright.lm.torch_engine.model import load_causal

    config = language_model(model, offline=offline).on_torch()
    causal, tokens, _ = load_causal(config)
    return ModelWeights(causal, tokens, config.model)


def end_by(verdict: GateVerdict | None) -> None:
    """Tell a verdict, and leave with exit code 1 where the gate fails."""
    if verdict is None:
        return
    for sentence in verdict.sentences:
        typer.echo(sentence)
    if not verdict.passed:
        raise typer.Exit(_FAILED)


# --------------------------------------------------------------------------------------------------
# adwright audit report: read a report again, as a table, a page, and for a gate.

_NAME = "report.json"


def report(
    folder: Path,
    *,
    out: Path | None = None,
    fail_above: float | None = None,
    surely: bool = False,
    force: bool = False,
) -> None:
    """Show what an audit found, and judge it by a bound.

    With --fail-above it exits with 1 where a tier is above it, which fails a job of continuous
    integration.

        adwright audit report runs/audit --fail-above 20

    Options:
        folder: Folder of an audit, or its report.json.
        out: Write the page anew, with the gate's verdict.
        fail_above: Exit with 1 where the net advantage of a tier is above so many percentage
            points.
        surely: Only where the whole interval is above --fail-above.
    """
    from adwright.audit.report.audit_report import AuditReport, GateBounds, audit_page, judge
    from adwright.core.atomic import atomic_write_text

    bounds = None if fail_above is None else GateBounds(fail_above, surely)
    found = AuditReport.from_json(_text(folder / _NAME if folder.is_dir() else folder))
    verdict = None if bounds is None else judge(found, bounds)
    show_report(found)
    if out is not None:
        allowed_to_replace(out, force=force)
        atomic_write_text(out, audit_page(found, verdict=verdict))
        typer.echo(f"Saved {out}")
    end_by(verdict)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            "there is no report that can be read",
            where=str(path),
            hint="name the folder that `adwright audit run` wrote",
        ) from error


# --------------------------------------------------------------------------------------------------
# adwright audit watch: what changed in a catalogue since the last look, and what moved a rank.

_FOUND = 1


def watch(
    file: Path,
    *,
    state: Path = Path("watch.json"),
    honest: Path | None = None,
    refit: bool = False,
    ranks: bool = True,
    orders: Count = 5,
    least_gain: float = 2.0,
    out: Path | None = None,
    fail: bool = False,
    request: str = "",
    columns: str | None = None,
    ranker: TargetChoice,
    seed: Natural = 0,
    offline: bool = False,
) -> None:
    """Look at a catalogue again: which texts changed, which of them are suspicious, which moved
    a rank.

    Run it after each delivery of the catalogue. A change is ranked with the text of before in its
    place, all else as it is now. The guard is fitted once and lies beside the state, so that no new
    text has a say in what is usual.

        adwright audit watch coffee.jsonl --state watch/coffee.json

    Options:
        file: The products: JSON lines, CSV or Parquet, a row each.
        state: What the watch remembers; made at the first look.
        honest: Products whose texts the guard is fitted to; those of the first look without it.
        refit: Fit the guard anew, to the texts of the last look.
        ranks (--ranks/--texts-alone): Whether changes are ranked, too.
        orders: Orders of each ranking.
        least_gain: Ranks from which on a gain alone is told.
        out: Write all changes here, as JSON.
        fail: Exit with 1 where a change is suspicious.
        request: What the shopper asks; made of the file's name without it.
        columns: Which column is which, OURS=THEIRS,...: name, facts (which the shop vouches for)
            and texts (which sellers write; each again for several), merchant. Others are guessed,
            and told.
    """
    from adwright.audit.watch import CatalogueWatch, WatchConfig, kept_guard
    from adwright.core.atomic import atomic_write_text

    config = WatchConfig(orders, least_gain, seed=seed)
    shop = open_shop(file, request, columns)
    usual = None if honest is None else open_shop(honest, shop.request, columns)
    stack = guarded_by(lambda: kept_guard(state, shop, honest=usual, refit=refit, seed=seed))
    with ExitStack() as opened:
        target: Target | None = None
        if ranks:
            target = ranker.open(seed=seed, offline=offline)
            opened.callback(target.close)
        report = CatalogueWatch(state, stack, target=target, config=config).look(shop)
    typer.echo(report.text())
    if out is not None:
        atomic_write_text(out, report.to_json())
        typer.echo(f"Saved {out}")
    if fail and report.suspicious:
        raise typer.Exit(_FOUND)


# --------------------------------------------------------------------------------------------------
# The group of `adwright audit`.

app = typer.Typer(
    help=(
        "How far can a seller's text push a product up a model's list, and how is that bounded?\n\n"
        "`run` tries texts on a catalogue of your own and reports, `report` reads that again and "
        "fails above a bound. `certify` bounds what any text can do, and signs it; `verify` checks "
        "that. `watch` tells what changed since the last look. `ask` lets the assistant that is "
        "audited answer."
    ),
    no_args_is_help=True,
)
verb(app, "run", was=WAS)(run)
verb(app, "report")(report)
verb(app, "certify", was=WAS)(certify)
verb(app, "verify")(verify)
verb(app, "ask", was=WAS)(ask)
verb(app, "watch", was=WAS)(watch)
