"""adwright audit certify: what any text can do to a rank, bounded, computed and signed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.audit.options import (
    Bound,
    CatalogueChoice,
    CatalogueFile,
    DefenceChoice,
    Defend,
    FactColumns,
    MerchantColumn,
    Most,
    NameColumn,
    RankerModel,
    RuleOption,
    ShopperRequest,
    TargetChoice,
    TextColumns,
    TypedFacts,
    Where,
    facts_ranker,
)
from adwright.cli.shared import Force, Offline, allowed_to_replace, show_table
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.audit.catalogue.catalogue import ShopCatalogue
    from adwright.audit.catalogue.listing import ShopListing
    from adwright.audit.certificate.certificate import RankCertificate
    from adwright.audit.certificate.scores import BoundedScores
    from adwright.audit.defences.bounded import BoundedTarget
    from adwright.audit.targets.target import Target

__all__ = ["certify", "verify"]

FactsBy = Annotated[
    str,
    typer.Option(
        "--facts-by",
        help="Column of numbers that ranks the facts, such as a rating; without it the model ranks "
        "listings without texts, in ten turns of their order.",
    ),
]
Grades = Annotated[
    str,
    typer.Option(
        "--grades",
        help="Column of numbers, how good a product is: shows what other bounds would cost "
        "and buy.",
    ),
]
Colluders = Annotated[
    int, typer.Option("--colluders", min=1, help="Products that may work together.")
]


def certify(  # noqa: PLR0913, PLR0917 - one argument per option
    file: CatalogueFile,
    out: Annotated[Path, typer.Option("--out", help="The signed certificate, JSON.")] = Path(
        "certificate.json"
    ),
    key: Annotated[
        Path, typer.Option("--key", help="Private key (Ed25519, PEM); made where none is there.")
    ] = Path("audit.pem"),
    eps: Bound = 0.5,
    defend: Defend = False,
    typed_facts: TypedFacts = False,
    facts_by: FactsBy = "",
    grades: Grades = "",
    curve: Annotated[
        Path, typer.Option("--curve", help="Folder of the picture and table of --grades.")
    ] = Path("curve"),
    colluders: Colluders = 2,
    request: ShopperRequest = "",
    name: NameColumn = "",
    facts: FactColumns = "",
    texts_of: TextColumns = "",
    merchant: MerchantColumn = "",
    where: Where = None,
    most: Most = 0,
    model: RankerModel = "",
    rule: RuleOption = "sum",
    offline: Offline = False,
    force: Force = False,
) -> None:
    """Certify how far any text can move each product, where a text may move its score by eps.

    A product's score is that of its facts, and what its own text adds in a prompt of its own,
    clipped to eps. So the best and the worst rank that texts can bring are known exactly, also for
    products that work together, and stand in a signed file that anybody can check. --defend scores
    the texts as the defences leave them, as in an audit with it.

        adwright audit certify coffee.jsonl --facts-by Rating --eps 0.2

        adwright audit certify coffee.jsonl --eps 0.2 --grades Rating --curve runs/curve
    """
    from adwright.audit.certificate.certificate import make_certificate
    from adwright.audit.certificate.signed import make_key, read_key, write_signed
    from adwright.core.clock import SystemClock

    shop = CatalogueChoice(file, request, name, facts, texts_of, merchant, where, most).open()
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
    from adwright.audit.defences.bounded import BoundedTarget
    from adwright.audit.defences.isolated import IsolatedTarget

    return BoundedTarget(by_facts, IsolatedTarget(opened), eps)


def verify(
    file: Annotated[Path, typer.Argument(help="A signed certificate.")],
    public_key: Annotated[
        str, typer.Option("--public-key", help="Of who should have signed it, hexadecimal.")
    ] = "",
    script: Annotated[
        bool, typer.Option("--script", help="Print the script that checks it without adwright.")
    ] = False,
) -> None:
    """Check the signature of a certificate, and compute its bounds again.

    adwright audit verify certificate.json --public-key 3f..
    """
    from adwright.audit.certificate.signed import read_signed, verifier_source

    if script:
        typer.echo(verifier_source(), nl=False)
        return
    found = read_signed(file, public_key=public_key or None)
    _show(found)
    typer.echo("The signature holds, and every bound follows from the scores.")


def _show_curve(shop: ShopCatalogue, scores: BoundedScores, graded: Target, folder: Path) -> None:
    """What other bounds would cost and buy, where the grades are those of a column."""
    import numpy as np

    from adwright.audit.certificate.curve import GradedList, bound_curve, epsilons
    from adwright.audit.certificate.curve_page import curve_table, write_curve
    from adwright.audit.targets.target import Ask

    (found,) = graded.rank([Ask(shop.listings, shop.request, range(len(shop)))])
    grades = np.array(found.scores)
    lists = [GradedList(scores.facts, scores.texts, grades - grades.min())]
    points = bound_curve(lists, sorted({*epsilons(lists), scores.eps}))
    typer.echo(curve_table(points, chosen=scores.eps))
    typer.echo(f"Saved {write_curve(points, folder, chosen=scores.eps)}")


def _by_column(shop: ShopCatalogue, column: str, option: str) -> Target:
    """Ranks by a column of numbers. Raises ConfigError where it is no fact, or holds others."""
    from adwright.audit.targets.function import FunctionTarget

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
