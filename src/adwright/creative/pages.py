"""The page of ads that were judged: each beside its record, its answers, and what moved them.

A single HTML file without scripts or outside references; text is escaped by jinja2, pictures are
small and part of the page.

Ads with the answers of several judges, and what moved each answer, for a page or a table.

    shown = shown_ads(table, {"click_rate": judge}, explain=20)
    write_ads_page("ads.html", shown, title="Twenty ads")

The judges are asked about all ads in one call each; about the first `explain` of them also without
each part, see `judging.ablation`.

An ad as a page shows it: what it says, its picture, and what each judge answered.

Small pictures of ads that are part of a page.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import DataError, FileUnreadableError
from adwright.core.progress import progress
from adwright.creative.judging import AdJudge, Judgements, PartEffect, PastAd, WithVectors, ablate
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import AdTable
from adwright.creative.records.encoders import opened_image
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.charts import interval_chart, to_svg
from adwright.metrics.reports.report import inline_svg, page_environment


@dataclass(frozen=True)
class ShownAnswer:
    """Of one judge on one ad. judge: its name. percent: whether values are shares, to be shown as
    such. unlike: the ad is unlike anything seen in training. moved: by what parts, the largest
    change first. near: past ads like it."""

    judge: str
    value: float
    low: float
    high: float
    unlike: bool = False
    coverage: float = 0.9
    percent: bool = True
    moved: tuple[PartEffect, ...] = ()
    near: tuple[PastAd, ...] = ()

    def said(self, value: float) -> str:
        """A number of this judge, as people read it."""
        return f"{value:.2%}" if self.percent else f"{value:.3g}"

    def bars(self) -> list[tuple[str, str, float, bool]]:
        """Of each part that moved it: its name, by how much, the width of its bar in percent, and
        whether the answer is higher with it."""
        most = max((abs(one.change) for one in self.moved), default=0.0) or 1.0
        return [
            (
                one.part,
                ("+" if one.change >= 0 else "") + self.said(one.change),
                100 * abs(one.change) / most,
                one.change >= 0,
            )
            for one in self.moved
        ]


@dataclass(frozen=True)
class ShownAd:
    """name: of the ad, its id. picture: a data address of a small picture, empty for none."""

    name: str
    record: AdRecord
    picture: str = ""
    answers: tuple[ShownAnswer, ...] = ()

    @property
    def title(self) -> str:
        """What stands above it."""
        return self.record.title or self.record.text[:_LABEL] or self.name


#: Ads in a chart, ads with all details, scenes of one ad.
_CHART, _DETAILS, _SCENES = 20, 50, 12
_LABEL = 48


def write_ads_page(
    path: str | Path,
    ads: Sequence[ShownAd],
    *,
    title: str,
    sentences: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write the page, whole or not at all. sentences: said at its top. facts: how it was made. Ads
    stand in their order, the charts in that of the answers. Raises DataError where there is no ad,
    ResourceError where the disk is full."""
    if not ads:
        raise DataError("there is no ad to show", hint="give at least one")
    judges = list(dict.fromkeys(one.judge for ad in ads for one in ad.answers))
    charts = [chart for at, judge in enumerate(judges) if (chart := _chart(ads, judge, at))]
    values = {
        "title": title,
        "sentences": sentences,
        "facts": dict(facts or {}),
        "charts": charts,
        "ads": ads[:_DETAILS],
        "facts_of": record_facts,
        "left": len(ads) - _DETAILS,
    }
    environment = page_environment(__package__ or "")
    atomic_write_text(path, environment.get_template("ads.html").render(values))


def record_facts(record: AdRecord) -> list[tuple[str, str]]:
    """(part, what it is) of each part that the record has, and of each that nobody could see."""
    found = []
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in ("scenes", "absent", "title") or value in ("", None):
            continue
        found.append((field.name, f"{value:g} s" if field.name == "seconds" else str(value)))
    for number, scene in enumerate(record.scenes[:_SCENES], 1):
        name = f"scene {number}" if len(record.scenes) > 1 else "shows"
        found.append((name, _scene(scene)))
    if (left := len(record.scenes) - _SCENES) > 0:
        found.append(("more", f"{left} more scenes"))
    found += [(f"no {part}", why) for part, why in record.absent]
    return found


def _scene(scene: Scene) -> str:
    """A scene in one line, a part a clause."""
    parts = [scene.caption] if scene.caption else []
    lists = {
        "foreground": scene.foreground,
        "background": scene.background,
        "emotions": scene.emotions,
        "tags": scene.tags,
    }
    parts += [f"{name}: {', '.join(values)}" for name, values in lists.items() if values]
    words = {"tone": scene.tone, "style": scene.style, "complexity": scene.complexity}
    parts += [f"{name}: {value}" for name, value in words.items() if value]
    if scene.faces is not None:
        parts.append(f"faces: {scene.faces}")
    if scene.words:
        parts.append("words: " + " / ".join(scene.words))
    return "; ".join(parts) or "nothing that was looked for"


def _chart(ads: Sequence[ShownAd], judge: str, number: int) -> str:
    """The answers of one judge, the highest first; nothing for a single ad."""
    found = [(ad, answer) for ad in ads for answer in ad.answers if answer.judge == judge]
    if len(found) < 2:
        return ""
    found.sort(key=lambda pair: -pair[1].value)
    rows: dict[str, Interval] = {}
    for ad, answer in found[:_CHART]:
        label = " ".join((ad.record.title or ad.name).split())[:_LABEL]
        name = label if label not in rows else f"{label} ({ad.name})"
        scale = 100 if answer.percent else 1
        rows[name] = Interval(scale * answer.value, scale * answer.low, scale * answer.high)
    first = found[0][1]
    chart = interval_chart(
        rows,
        title=judge.replace("_", " ").capitalize(),
        x_title="percent" if first.percent else "score",
        confidence=first.coverage,
    )
    return inline_svg(to_svg(chart), f"answers{number}")


_SIDE = 320


def thumbnail(path: Path | None, frames: Sequence[bytes] = ()) -> str:
    """A small JPEG of an image file as a data address; empty where there is none to show.

    frames: bytes of images to show instead where the file is a film.
    """
    data = frames[0] if frames else (path.read_bytes() if path is not None else b"")
    if not data:
        return ""
    try:
        image = opened_image(data, "" if path is None else str(path))
    except FileUnreadableError:
        return ""
    image.thumbnail((_SIDE, _SIDE))
    small = io.BytesIO()
    image.save(small, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"


#: Parts in the explanation of one answer.
_PARTS = 8
#: Judges whose answers are shares, shown as percentages.
_SHARES = ("click_rate",)


@runtime_checkable
class KnowsPast(Protocol):
    """A judge that remembers ads that it was trained on."""

    def nearest(self, ads: Sequence[AdRecord], /, count: int = 3) -> Sequence[Sequence[PastAd]]:
        """Of each ad the nearest past ones."""
        ...


def judged_by(judges: Mapping[str, AdJudge], table: AdTable) -> dict[str, Judgements]:
    """The answers of each judge on all ads of a table. Raises as the judges do."""
    return {name: judge.judge(table.records) for name, judge in judges.items()}


def answers_table(table: AdTable, found: Mapping[str, Judgements]) -> pl.DataFrame:
    """One row an ad: creative_id, title, and of each judge NAME, NAME_low, NAME_high and
    NAME_unlike."""
    columns: dict[str, object] = {
        "creative_id": list(table.ids),
        "title": [record.title for record in table.records],
    }
    for name, answers in found.items():
        columns |= {
            name: answers.value,
            f"{name}_low": answers.low,
            f"{name}_high": answers.high,
            f"{name}_unlike": answers.unlike,
        }
    return pl.DataFrame(columns)


def shown_ads(
    table: AdTable,
    judges: Mapping[str, AdJudge],
    found: Mapping[str, Judgements],
    *,
    explain: int = 20,
    near: int = 3,
) -> list[ShownAd]:
    """The ads as a page shows them. found: of `judged_by`. explain: so many are explained, the
    first. near: past ads beside each answer, 0 for
    none. Raises as the judges do."""
    first = min(explain, len(table))
    past = {
        name: judge.nearest(table.records[:first], near)
        for name, judge in judges.items()
        if isinstance(judge, KnowsPast) and first and near
    }
    shown = []
    with progress(first, "explain", "ads") as bar:
        for row, (name, record) in enumerate(zip(table.ids, table.records, strict=True)):
            answers = []
            for judge_name, judge in judges.items():
                said, known = found[judge_name], past.get(judge_name)
                moved: tuple[PartEffect, ...] = ()
                if row < first:
                    asked = judge.of_row(row) if isinstance(judge, WithVectors) else judge
                    moved = ablate(asked, record)[:_PARTS]
                answers.append(
                    ShownAnswer(
                        judge_name,
                        float(said.value[row]),
                        float(said.low[row]),
                        float(said.high[row]),
                        bool(said.unlike[row]),
                        said.coverage,
                        percent=judge_name.startswith(_SHARES),
                        moved=moved,
                        near=() if known is None or row >= first else tuple(known[row]),
                    )
                )
            picture = thumbnail(table.media[row]) if row < first else ""
            shown.append(ShownAd(name, record, picture, tuple(answers)))
            if row < first:
                bar.advance()
    return shown
