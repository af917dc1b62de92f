"""adwright audit certify: what any text can do to a rank, bounded, computed and signed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.audit.options import (
    CatalogueChoice,
    DefenceChoice,
    RankingRule,
    TargetChoice,
    facts_ranker,
)
from adwright.cli.shared import allowed_to_replace, show_table
from adwright.core.config import Count, Ge, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.audit.catalogue import ShopCatalogue, ShopListing
    from adwright.audit.certificate.certificate import BoundedScores, RankCertificate
    from adwright.audit.defences.stack import BoundedTarget
    from adwright.audit.targets.target import Target


def certify(
    file: Path,
    *,
    out: Path = Path("certificate.json"),
    key: Path = Path("audit.pem"),
    eps: Annotated[float, Ge(0)] = 0.5,
    defend: bool = False,
    typed_facts: bool = False,
    facts_by: str = "",
    grades: str = "",
    curve: Path = Path("curve"),
    colluders: Count = 2,
    request: str = "",
    columns: str | None = None,
    name: str = "",
    facts: str = "",
    texts_of: str = "",
    merchant: str = "",
    where: str | None = None,
    most: Natural = 0,
    model: str = "",
    rule: RankingRule = "sum",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Certify how far any text can move each product, where a text may move its score by eps.

    A product's score is that of its facts, and what its own text adds in a prompt of its own,
    clipped to eps. So the best and the worst rank that texts can bring are known exactly, also for
    products that work together, and stand in a signed file that anybody can check. --defend scores
    the texts as the defences leave them, as in an audit with it.

        adwright audit certify coffee.jsonl --facts-by Rating --eps 0.2

        adwright audit certify coffee.jsonl --eps 0.2 --grades Rating --curve runs/curve

    Options:
        file: The products: JSON lines, CSV or Parquet, a row each.
        out: The signed certificate, JSON.
        key: Private key (Ed25519, PEM); made where none is there.
        eps: The most that a text may move a score, in its unit.
        defend: Put the defences before the ranker: normalised texts, a guard where there are
            texts enough to fit one, each listing by itself, and the bound on what texts may do.
        typed_facts: With --defend: of a seller's text only quantities, colours, materials and
            categories reach the ranker, in English.
        facts_by: Column of numbers that ranks the facts, such as a rating; without it the model
            ranks listings without texts, in ten turns of their order.
        grades: Column of numbers, how good a product is: shows what other bounds would cost and
            buy.
        curve: Folder of the picture and table of --grades.
        colluders: Products that may work together.
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
    from adwright.core.clock import SystemClock

    shop = CatalogueChoice(
        file, request, columns, name, facts, texts_of, merchant, where, most
    ).open()
    by_column = _by_column(shop, facts_by, "--facts-by") if facts_by else None
    graded = _by_column(shop, grades, "--grades") if grades else None
    safe = DefenceChoice(defend, eps, typed_facts, seed=0).checked(shop)
    allowed_to_replace(out, force=force)
    signer = read_key(key) if key.exists() else make_key(key)
    with closing(TargetChoice("likelihood", model, rule=rule, offline=offline).open()) as opened:
        bounded = _bounded(opened, by_column or facts_ranker(opened, shop), eps)
        read, behind = safe.cleaned(shop)
        scores = bounded.scores(read, shop.request)
        made = make_certificate(
            shop.name,
            shop.request,
            shop.names,
            scores,
            ranker=bounded.name + behind,
            made=SystemClock().now(),
            colluders=colluders,
            digest=shop.digest(),
        )
    write_signed(made, signer, out)
    _show(made)
    if graded is not None:
        _show_curve(shop, scores, graded, curve)
    typer.echo(f"Saved {out}, signed by {signer.public}")


def _bounded(opened: Target, by_facts: Target, eps: float) -> BoundedTarget:
    from adwright.audit.defences.stack import BoundedTarget, IsolatedTarget

    return BoundedTarget(by_facts, IsolatedTarget(opened), eps)


def verify(
    file: Path,
    *,
    public_key: str = "",
    script: bool = False,
) -> None:
    """Check the signature of a certificate, and compute its bounds again.

    adwright audit verify certificate.json --public-key 3f..

    Options:
        file: A signed certificate.
        public_key: Of who should have signed it, hexadecimal.
        script: Print the script that checks it without adwright.
    """
    from adwright.audit.certificate.certificate import read_signed, verifier_source

    if script:
        typer.echo(verifier_source(), nl=False)
        return
    found = read_signed(file, public_key=public_key or None)
    _show(found)
    typer.echo("The signature holds, and every bound follows from the scores.")


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
    columns = (one.names, one.rank, one.best, one.worst, one.best_together, one.worst_together)
    together = f"of {one.colluders} together"
    header = ("product", "rank", "best", "worst", f"best {together}", f"worst {together}")
    rows = sorted(zip(*columns, strict=True), key=lambda row: (row[1], row[0]))
    show_table(header, [[visible(str(cell), 60) for cell in row] for row in rows], unbroken=True)
