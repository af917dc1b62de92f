"""adwright demo."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import typer

from adwright.cli.author.write import SOME_FAILED
from adwright.cli.serve import need_service
from adwright.cli.shared import console, show_table
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.config import Count, Ge, Gt, Le, Natural
from adwright.core.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from adwright.demos.ads import AdsDemoResult
    from adwright.demos.audited import AuditDemoResult
    from adwright.demos.cascade import CascadeDemoResult
    from adwright.demos.ranker import DemoConfig, DemoResult
    from adwright.demos.retirement import RetirementDemoResult


class _Demo(DefaultGroup):
    """An option that only the demonstration of before had leads to it."""

    #: The command line whose verbs are the steps of the loop.
    root: ClassVar[Any] = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in `ranker` where one of its own options is typed without it."""
        type(self).root = ctx.find_root().command
        if not args or args[0] not in self.commands:
            loop, ranker = (
                {
                    name
                    for one in self.commands[verb].params
                    for name in (*one.opts, *one.secondary_opts)
                }
                for verb in ("loop", "ranker")
            )
            own = [word for word in args if word.partition("=")[0] in ranker - loop]
            if own:
                note = f"note: {own[0]} is of `adwright demo ranker`, which is what runs now"
                typer.echo(note, err=True)
                args = ["ranker", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Demo,
    help="Show adwright at work on real data: the life of ads, where no other part is named.",
    rich_markup_mode="markdown",
)


@verb(app, "loop")
def loop(
    *,
    weeks: Count = 4,
    people: Annotated[float, Gt(0), Le(1)] = 1.0,
    items: Count = 8,
    seed: Natural = 0,
    offline: bool = False,
    out: Path = Path("runs/demo"),
) -> None:
    """Run the loop of an ad's life once: written, judged, shown, learnt from, stopped, and anew.

    Simulated people, fitted on a year of a real grocer (Complete Journey, downloaded once, 31 MB),
    meet a shop for four weeks. A half of them sees the ads of the first day, the other half what
    the loop makes of them. A small language model writes, judges predict, rules approve, the
    decision service chooses and learns, what loses is taken down, and new ads are written where
    people have seen the old ones. It ends with a page, the life of three ads, and with the test of
    both halves.

    Each step is a command of adwright; the page lists them, as they are typed.

    Options:
        weeks: That people meet the shop.
        people: Share of the 2,456 people; less is faster.
        items: Products that the shop advertises.
        out: Folder for the store, the models and the page.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from adwright.demos.life import write_life_page
    from adwright.demos.loop import AdLifeConfig, loop_demo

    need_service()
    config = AdLifeConfig(
        weeks=weeks, people=people, items=items, seed=seed, offline=offline, out=out
    )
    began = time.monotonic(), time.process_time()
    found = loop_demo(config, partial(run_verb, _Demo.root), typer.echo)
    page = out / "life.html"
    write_life_page(found, page)
    took, cpu = time.monotonic() - began[0], time.process_time() - began[1]
    typer.echo(f"\n{found.reading.rstrip()}\n")
    told = "" if found.lift.excludes(0) else ", which chance may explain"
    lines = [
        f"Clicks an impression, the loop's ads beside those of the first day: "
        f"{found.lift.text('+.1%')}{told}",
        f"Done in {took:.0f} s, {cpu:.0f} s of processors. The page to read: {page}",
        "Next, with ads of your own: adwright cycle new cycle.toml, or docs/ad-life.md",
        "The rankers at work: adwright demo ranker",
    ]
    for line in lines:
        console().print(line, highlight=False, markup=False)


def run_verb(root: Any, words: Sequence[str]) -> str:
    """Run a verb of the command `root` in this process; what it printed. Raises ResourceError where
    it fails."""
    from adwright.demos.loop import verb_failed

    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = root.main(args=list(words), prog_name="adwright", standalone_mode=False)
    if code not in (None, 0, SOME_FAILED):
        raise verb_failed(words, code, said.getvalue())
    return said.getvalue()


@verb(app, "ranker")
def demo(
    *,
    households: Annotated[float, Ge(0.001), Le(1)] = 1.0,
    epochs: Count = 1,
    negative_rate: Annotated[float, Ge(0.001), Le(1)] = 0.05,
    max_history: Natural = 0,
    cascade: bool = True,
    retirement: bool = True,
    ads: bool = True,
    audit: bool = True,
    requests: Count = 1000,
    seed: Natural = 0,
    offline: bool = False,
    out: Path = Path("runs/demo-ranker"),
) -> None:
    """Train a ranker on a year of real promotions, then a cascade that decides for real people.

    First part: builds the response task of Complete Journey (downloaded once, 31 MB), trains
    the base model and the Deep Interest Network, measures them beside popularity, personal
    frequency, item-item and a logistic model of these counts, and names ten promoted products for
    each of three households, with the past purchases that activated them.

    Second part: trains two towers, HCN and DIN on the next-basket task, on a small budget, and
    lets them decide for baskets of the test weeks among all 68,509 items; shows what each stage
    lets through and what it costs. --epochs and --negative-rate are of the first part.

    Third part: learns how long displays in stores go on, replays what stopping them by value and
    predicted life would have saved, beside the fatigue rules of ad tools, and lists what to stop.

    Fourth part, with the extra `lm`: a small language model under an adapter that ships with the
    package writes an ad and a description for each of the ten products of the first household, and
    shows what the checks found in them before and after the repair.

    Fifth part, with the extras `lm` and `audit`: certifies how far any text could move these
    products in the list of the ranker, and pushes one of them, there and in that of an assistant
    which reads all texts.

    Options:
        households: Share of the 2,469 households; less is faster.
        epochs: Passes over the data.
        negative_rate: Share of the impressions without a response that training keeps; undone
            afterwards, so that probabilities stay true.
        max_history: Most recent purchases to look at; 0 for all.
        cascade: Train and serve the whole cascade, too.
        retirement: Learn how long displays go on, and what to stop.
        ads: Write ads for what the first household would be shown.
        audit: Certify the list of these ads, and try to push one of them.
        requests: Baskets of the test weeks that it decides.
        out: Folder for the models and the pages.
    """
    # Read by numpy's products when it is imported: more threads wait longer than they work.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from adwright.demos.folder import remove_demo
    from adwright.demos.ranker import DemoConfig, add_links
    from adwright.demos.ranker import demo as run_demo

    config = DemoConfig(
        households=households,
        epochs=epochs,
        negative_rate=negative_rate,
        max_history=max_history,
        seed=seed,
        offline=offline,
        out=out,
    )
    found = run_demo(config)
    show(found)
    parts: list[_FurtherPart] = []
    if cascade:
        parts.append(_second(config, requests))
    else:
        remove_demo(out / "cascade", "cascade.json")
    if retirement:
        parts.append(_third(config))
    else:
        remove_demo(out / "retirement")
    written = _fourth(config, found) if ads else None
    if written is None:
        remove_demo(out / "ads")
    else:
        link, end = "ads for what it would show", f"The ads: {written.page}"
        parts.append(_FurtherPart(written.page, link, written.seconds, [end]))
    last = _fifth(config, found, written) if audit and written is not None else None
    if last is None:
        remove_demo(out / "audit")
    else:
        parts.append(last)
    if parts:
        add_links(found, {_address(one.page, out): f"Go on: {one.link}" for one in parts})
    _show_end(found, parts)


class _FurtherPart(NamedTuple):
    """What the first part says of a further one: its page, what a link to that says, the seconds of
    its stages, and the lines at the end."""

    page: Path
    link: str
    seconds: Mapping[str, float]
    end: Sequence[str]


def _second(config: DemoConfig, requests: int) -> _FurtherPart:
    from adwright.demos.cascade import CascadeDemoConfig, cascade_demo, small_build

    found = cascade_demo(
        CascadeDemoConfig(
            households=config.households,
            requests=requests,
            build=small_build(max_history=config.max_history, seed=config.seed),
            seed=config.seed,
            offline=config.offline,
            out=config.out / "cascade",
        )
    )
    show_cascade(found)
    tenant = found.folder
    end = [
        f"The decisions, as a log: {tenant / 'decisions.parquet'}",
        f"The cascade, to serve with the extra `service`: {found.deployment}",
        f"  adwright publish {found.deployment}",
        f"  adwright key {tenant.name}",
        f"  adwright serve --models {tenant.parent}",
    ]
    link = f"a cascade decides for {found.measures.requests:,} baskets"
    return _FurtherPart(found.page, link, found.seconds, end)


def _third(config: DemoConfig) -> _FurtherPart:
    from adwright.demos.folder import DemoPart
    from adwright.demos.retirement import retirement_demo

    found = retirement_demo(DemoPart(config.out / "retirement", config.seed, config.offline))
    show_retirement(found)
    listed = found.page.parent / "list"
    end = [
        f"What to stop: {found.page}",
        f"  adwright retire apply {listed} --events stops.jsonl --dry-run",
    ]
    return _FurtherPart(found.page, "which displays to stop", found.seconds, end)


def _fourth(config: DemoConfig, found: DemoResult) -> AdsDemoResult | None:
    """The ads; None where their packages are missing, or nothing was ranked that has a name."""
    from adwright.demos.ads import ads_demo, journey_shelf
    from adwright.demos.folder import DemoPart

    shown = [one.item_id for household in found.households[:1] for one in household.shown]
    products = journey_shelf(shown, offline=config.offline)
    why = "none of the products has a name"
    made = None
    try:
        if products:
            made = ads_demo(DemoPart(config.out / "ads", config.seed, config.offline), products)
    except MissingExtraError as error:
        why = f"{error.what}: {error.hint}"
    if made is None:
        typer.echo(f"\nNo ads are written, since {why}.")
        return None
    show_ads(made)
    return made


def _fifth(config: DemoConfig, found: DemoResult, written: AdsDemoResult) -> _FurtherPart | None:
    """The audit of the list; None where its packages are missing, or there is no list."""
    from adwright.demos.audited import SoldProduct, audit_demo
    from adwright.demos.folder import DemoPart

    chance = {one.item_id: one.probability for one in found.households[0].shown}
    sold = [
        SoldProduct(
            ad.product,
            chance[ad.product.id],
            " ".join(text.text for text in ad.texts if text.text),
        )
        for ad in written.ads
        if ad.product.id in chance
    ]
    asked = DemoPart(config.out / "audit", config.seed, config.offline)
    try:
        made = audit_demo(asked, sold)
    except (MissingExtraError, DataError) as error:
        typer.echo(f"\nThe list is not audited, since {error.what}: {error.hint}.")
        return None
    show_audit(made)
    end = [
        f"What a text could do: {made.page}",
        f"  adwright audit verify {made.page.parent / 'certificate.json'}",
    ]
    return _FurtherPart(made.page, "what a text could do to the list", made.seconds, end)


def show(found: DemoResult) -> None:
    """Print the table of the ranker and its households."""
    comparison = found.result.comparison
    show_table(
        comparison.header(),
        comparison.rows(),
        title="Test weeks, every impression; 95% intervals over households",
    )
    for household in found.households:
        typer.echo(
            f"\nHousehold {household.user_id} on {household.time:%d %B %Y}: "
            f"{household.candidates} promoted products at its shelves, {household.taken} taken; "
            f"{household.history:,} purchases before."
        )
        rows = [
            (
                shown.name,
                f"{shown.probability:.1%}",
                "yes" if shown.taken else "",
                "\n".join(f"{past.name} ×{past.count}" for past in shown.because),
            )
            for shown in household.shown
        ]
        show_table(("it would show", "probability", "taken", "activated by past purchases"), rows)


def show_cascade(found: CascadeDemoResult) -> None:
    """Print what each stage lets through and costs, the order that comes out, and decisions."""
    measures = found.measures
    typer.echo()
    show_table(measures.stage_header(), measures.stage_rows(), title=measures.title())
    typer.echo(measures.cost())
    typer.echo()
    show_table(measures.order_header(), measures.order_rows(), title="The order that comes out")
    for decision in found.shown:
        typer.echo(
            f"\nHousehold {decision.user_id} on {decision.time:%d %B %Y}: {decision.history:,} "
            f"purchases before; {decision.basket} items in the basket that followed."
        )
        rows = [
            (
                place.name,
                f"{place.probability:.1%}",
                f"{place.propensity:.1%}",
                f"×{place.had}",
                "yes" if place.bought else "",
            )
            for place in decision.places
        ]
        header = ("it shows", "probability", "drawn with chance", "had before", "bought")
        show_table(header, rows)


def show_retirement(found: RetirementDemoResult) -> None:
    """Print what the replay found, and the list."""
    typer.echo(f"\n{found.past.text()}\n")
    typer.echo(found.found.text(rows=5).rstrip())


def show_ads(found: AdsDemoResult) -> None:
    """Print each product's texts, and why one is left out."""
    from adwright.demos.ads import ad_rows

    typer.echo("\nAds and descriptions of the ten products of the first household")
    for ad in found.ads:
        show_table(("slot", "text"), ad_rows(ad), title=ad.product.title)
    typer.echo(found.summary)
    if found.judged is not None:
        typer.echo("\nWould they be clicked, would they be remembered? Of judges of other ads:")
        show_table(found.judged.header, found.judged.rows)
        typer.echo(f"What moved each answer: {found.judged.page}")


def show_audit(found: AuditDemoResult) -> None:
    """Print the certificate, and what the attack did."""
    typer.echo()
    show_table(found.header(), found.rows(), title="What any text could do to the list")
    typer.echo(found.sentence())


def _address(page: Path, out: Path) -> str:
    return page.relative_to(out).as_posix()


def _show_end(found: DemoResult, parts: Sequence[_FurtherPart]) -> None:
    """Print how long it took, where to read on, and what can be done with the models."""
    stages = [found.result.stages, *(one.seconds for one in parts)]
    seconds = sum(sum(one.values()) for one in stages)
    lines = [
        f"\nDone in {seconds:.0f} s. The page to read: {found.page}",
        f"The ranker, to score with: {found.result.folder / 'ranker'}",
        *(line for one in parts for line in one.end),
    ]
    for line in lines:
        console().print(line, highlight=False, markup=False)
