"""adwright creative improve: a writer that learns from what was remembered (SEED)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.creative.ads import (
    Ads,
    BrandColumn,
    ChosenColumns,
    IdColumn,
    SecondsColumn,
    TextColumn,
    TitleColumn,
    WordsColumns,
    opened_ads,
)
from adwright.cli.creative.recall import Of, Scale, Score
from adwright.cli.shared import DryRun, Offline, Seed

if TYPE_CHECKING:
    from adwright.creative.memory.seed.pool import KnownAd

__all__ = ["improve"]

Kind = Annotated[
    Literal["slogan", "headline", "description", "video"],
    typer.Option("--kind", help="What is written: the title; the title of a story; words; scenes."),
]
Pool = Annotated[
    Path | None,
    typer.Option("--pool", help="Further ads of that kind whose recall nobody counted."),
]
Minutes = Annotated[
    float,
    typer.Option("--minutes", min=0.0, help="Stop after so many; the same command goes on."),
]
Model = Annotated[
    str, typer.Option("--model", help="Base of the writer, as `adwright tune run` takes it.")
]


def improve(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    kind: Kind = "slogan",
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/seed"),
    pool: Pool = None,
    score: Score = "",
    of: Of = "",
    scale: Scale = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="At most so many.")] = 3,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Ads that a round writes for a brief.")
    ] = 6,
    briefs: Annotated[
        int, typer.Option("--briefs", min=0, help="Briefs of a round; 0 for all.")
    ] = 0,
    minutes: Minutes = 0.0,
    model: Model = "smollm2-135m-instruct",
    id_column: IdColumn = None,
    title: TitleColumn = None,
    words: WordsColumns = None,
    brand: BrandColumn = None,
    seconds: SecondsColumn = None,
    text: TextColumn = None,
    seed: Seed = 0,
    offline: Offline = False,
    dry_run: DryRun = False,
) -> None:
    """Write ads that are remembered better, round by round: write, judge, keep the best, learn.

    A second judge, which no round learns from, says whether the gain is real, on brands that were
    held out. A run that was stopped or killed goes on by the same command.
    """
    from adwright.creative.memory.outcomes import ScoreColumns, read_recall
    from adwright.creative.memory.seed.config import SeedBudget, SeedConfig
    from adwright.creative.memory.seed.judges import ModelEncoder, two_judges
    from adwright.creative.memory.seed.plan import plan_seed
    from adwright.creative.memory.seed.pool import SeedData, known_ads
    from adwright.creative.memory.seed.rounds import run_seed
    from adwright.creative.memory.seed.writer import TunedWriter
    from adwright.lm.open_model import open_model
    from adwright.lm.sentence_encoder import SentenceEncoder
    from adwright.lm.torch_engine.config import TorchConfig

    chosen = ChosenColumns(id_column, title, words, brand, seconds, "", "", text)
    table = read_recall(opened_ads(ads, chosen), scores=ScoreColumns(score, scale or "", of))
    for sentence in table.said:
        typer.echo(sentence, err=True)
    known = known_ads(table.records, table.ids, kind, source="ads", scores=table.targets.tolist())
    data = SeedData((*known, *(() if pool is None else _unscored(pool, chosen, kind))))
    config = SeedConfig(
        rounds=rounds,
        samples=samples,
        briefs=briefs,
        seed=seed,
        budget=SeedBudget(minutes=minutes),
    )
    typer.echo(plan_seed(config, data).text())
    if dry_run:
        typer.echo(f"Would write {out}")
        return
    writer = TunedWriter(model=model, offline=offline)
    with closing(open_model(TorchConfig(model, offline=offline))) as base:
        encoders = ModelEncoder(base), SentenceEncoder(longest=64, offline=offline)
        own, second = two_judges(data.labelled, config, *encoders)
        report = run_seed(config, data, writer, own, second, out)
    typer.echo(report.text())
    typer.echo(f"Saved in {out}; its page is {out / 'report.html'}")


def _unscored(
    pool: Path, chosen: ChosenColumns, kind: Literal["slogan", "headline", "description", "video"]
) -> tuple[KnownAd, ...]:
    from adwright.creative.memory.seed.pool import known_ads

    found = opened_ads(pool, chosen)
    return known_ads(found.records, found.ids, kind, source="pool")
