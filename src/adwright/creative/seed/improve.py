"""Ads of one's own, written anew by the writer of a run that has ended: better by both judges.

    found = improve(ads, "runs/seed", config, writer, own, second)
    found[0].text, found[0].second.value, found[0].original_second.value

For each ad the writer writes several; of those that pass the filters, and that the second judge
does not think less of than of the original, the own judge names the best. Where there is none, or
that is not above the original, the ad stays as it is. So no ad is changed on the word of the judge
that the writer was tuned to please. What is written lies in a file beside the rounds, and the same
call goes on where it was killed.

A writer that learned from what was remembered, with its judges, as one folder.

    data = SeedData(known_ads(table.records, table.ids, "slogan", source="ads", scores=scores))
    report = train_writer(data, "slogan", Path("runs/writer"), SeedConfig())
    found = rewrite(read_ads("new.csv"), Path("runs/writer"))

The folder keeps the ads that it learned from, since both judges are ridges on them that are fitted
in seconds: the own one reads the vectors of the writer's base, the second one MiniLM's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adwright.core.atomic import locked
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, DataError, ResumeError
from adwright.core.hashing import content_hash
from adwright.creative.judging import AdJudge, Judgements
from adwright.creative.records.ads_table import AdTable
from adwright.creative.seed.measures import ModelEncoder, scored, two_judges
from adwright.creative.seed.rounds import SeedReport, run_seed
from adwright.creative.seed.texts import (
    AdFilters,
    BriefKind,
    CopyIndex,
    KnownAd,
    SeedConfig,
    SeedData,
    answer_of,
    known_ads,
    record_of,
)
from adwright.creative.seed.writer import TunedWriter, WrittenAds, read_json, write_ads, write_json
from adwright.data.creatives import MODEL, Creative
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm
from adwright.lm.sentence_encoder import SentenceEncoder
from adwright.metrics.bootstrap import Interval

_DIGITS = 12


@dataclass(frozen=True)
class ImprovedAd:
    """An ad and what may take its place. text: the new one, or the original where nothing better
    was written. own, second: what the judges say of it, with their intervals; original_own,
    original_second: of the original. usable: how many of the written ones passed the filters."""

    brief: str
    original: str
    text: str
    own: Interval
    second: Interval
    original_own: Interval
    original_second: Interval
    usable: int

    @property
    def changed(self) -> bool:
        """Whether a new one was found."""
        return self.text != self.original


def improve(
    ads: Sequence[KnownAd],
    out: str | Path,
    config: SeedConfig,
    writer: TunedWriter,
    own: AdJudge,
    second: AdJudge,
    *,
    samples: int = 8,
    served: LmSpec | None = None,
) -> tuple[ImprovedAd, ...]:
    """Write each ad anew. out: folder of the run, whose chosen round writes. served: a server's
    model that writes in its place.

    Raises ResumeError where the run has no report yet, DataError without an ad, and as writer and
    judges.
    """
    if not ads:
        raise DataError("there is no ad to improve", hint="pass some")
    place = Path(out)
    report, read = read_json(place / "report.json"), read_json(place / "read.json")
    if report is None or read is None or report.get("after") is None:
        raise ResumeError(
            "the run has not ended", where=str(place), hint="give its command again until it has"
        )
    folder = place / f"round-{report['chosen']}" / "writer"
    briefs = [ad.brief for ad in ads]
    by = f"{served.url} {served.model}" if served else folder.name
    told = json.dumps([[one.id, one.known] for one in briefs] + [[str(samples), (by,)]])
    with locked(place / ".lock"):
        written = write_ads(
            briefs,
            lambda: writer.opened(folder) if served is None else closing(open_lm(served)),
            config,
            place / f"improve-{content_hash(told)[:_DIGITS]}.jsonl",
            samples=samples,
            seed=config.seed,
            label="improve",
        )
    index = CopyIndex(read["texts"], n=config.filters.run)
    filters = AdFilters(config.filters, index, brands=read["brands"])
    return _chosen(ads, written or (), own, second, filters)


def _chosen(
    ads: Sequence[KnownAd],
    written: Sequence[WrittenAds],
    own: AdJudge,
    second: AdJudge,
    filters: AdFilters,
) -> tuple[ImprovedAd, ...]:
    def at(found: Judgements, row: int) -> Interval:
        return Interval(*(float(one[row]) for one in (found.value, found.low, found.high)))

    originals = [ad.judged for ad in ads]
    first = own.judge(originals), second.judge(originals)
    usable: list[list[int]] = [[] for _ in ads]
    for row, place in scored(written, own, filters).usable:
        usable[row].append(place)
    places = [(row, place) for row, those in enumerate(usable) for place in those]
    records = [record_of(written[row].texts[place], ads[row].brief) for row, place in places]
    by_own, by_second = own.judge(records), second.judge(records)
    best: dict[int, int] = {}
    for one, (row, _) in enumerate(places):
        agreed = by_second.value[one] >= first[1].value[row]
        beaten = by_own.value[best[row]] if row in best else first[0].value[row]
        if agreed and by_own.value[one] > beaten:
            best[row] = one
    found = []
    for row, ad in enumerate(ads):
        own_first, second_first = at(first[0], row), at(first[1], row)
        chosen = best.get(row)
        new = ad.judged if chosen is None else records[chosen]
        found.append(
            ImprovedAd(
                ad.brief.id,
                ad.answer,
                answer_of(new, ad.brief.kind),
                own_first if chosen is None else at(by_own, chosen),
                second_first if chosen is None else at(by_second, chosen),
                own_first,
                second_first,
                len(usable[row]),
            )
        )
    return tuple(found)


_ASKED = "asked.json"
_TOKENS = 64


@dataclass(frozen=True)
class Rewritten:
    """ids: of the ads that could be written anew, those that have all that their kind needs.
    found: what may take their place. left: how many ads had not. creatives: those that changed,
    each with its original as its parent."""

    ids: tuple[str, ...]
    found: tuple[ImprovedAd, ...]
    left: int
    creatives: tuple[Creative, ...] = ()


def train_writer(
    data: SeedData,
    kind: BriefKind,
    out: Path,
    config: SeedConfig,
    *,
    model: str = SMOLLM2,
    offline: bool = False,
) -> SeedReport:
    """Run, or go on with, the rounds of SEED in a folder. Raises as `run_seed`, and ResumeError
    where the folder was made for another kind, model or data."""
    asked = {
        "kind": kind,
        "model": model,
        "config": to_jsonable(config),
        "labelled": [to_jsonable(ad) for ad in data.labelled],
        "digest": data.digest,
    }
    before = _asked(out) if (out / _ASKED).is_file() else asked
    for name in ("kind", "model", "digest"):
        if before.get(name) != asked[name]:
            raise ResumeError(
                f"this folder holds a run of another {'data' if name == 'digest' else name}",
                where=str(out),
                hint="name another folder with --out",
            )
    write_json(out / _ASKED, asked)
    with _judges(data.labelled, config, model, offline=offline) as judges:
        writer = TunedWriter(model=model, offline=offline)
        return run_seed(config, data, writer, *judges, out)


def rewrite(
    table: AdTable,
    out: Path,
    *,
    samples: int = 8,
    served: LmSpec | None = None,
    offline: bool = False,
) -> Rewritten:
    """Write ads anew by the writer of a folder, or by a server's model in its place, see `improve`;
    its judges say which are better. Raises ArtifactError where there is
    no such folder, DataError where no ad has what its kind needs, and as `improve`."""
    asked = _asked(out)
    labelled = [from_jsonable(KnownAd, told) for told in asked["labelled"]]
    config, kind = from_jsonable(SeedConfig, asked["config"]), asked["kind"]
    rows = {f"new-{id}": id for id in table.ids}
    ads = known_ads(table.records, table.ids, kind, source="new")
    if not ads:
        raise DataError(
            f"no ad has what a {kind} needs", file=table.name, hint="name the columns of its parts"
        )
    with _judges(labelled, config, asked["model"], offline=offline) as judges:
        writer = TunedWriter(model=asked["model"], offline=offline)
        found = improve(ads, out, config, writer, *judges, samples=samples, served=served)
    ids = tuple(rows[ad.brief.id] for ad in ads)
    by = asked["model"] if served is None else served.model
    made = changed_creatives(ids, ads, found, maker=f"{MODEL}SEED on {by}")
    return Rewritten(ids, found, len(table) - len(ads), made)


def changed_creatives(
    ids: Sequence[str], ads: Sequence[KnownAd], found: Sequence[ImprovedAd], *, maker: str
) -> tuple[Creative, ...]:
    """Those that were written anew, each a child of the ad of its id."""
    return tuple(
        ad.record.creative(id).edited(
            "written anew, to be remembered better",
            {"headline" if ad.brief.kind in ("slogan", "headline") else "body": one.text},
            maker=maker,
        )
        for id, ad, one in zip(ids, ads, found, strict=True)
        if one.changed
    )


@contextmanager
def _judges(
    labelled: Sequence[KnownAd], config: SeedConfig, model: str, *, offline: bool
) -> Iterator[tuple[AdJudge, AdJudge]]:
    with closing(open_lm(LmSpec(model, "torch", offline=offline))) as base:
        encoders = ModelEncoder(base), SentenceEncoder(longest=_TOKENS, offline=offline)
        yield two_judges(labelled, config, *encoders)


def _asked(out: Path) -> dict[str, Any]:
    path = out / _ASKED
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"this is no writer that was trained on recall: {error}",
            where=str(path),
            hint="name a run of `adwright creative train seed`",
        ) from error
    return found
