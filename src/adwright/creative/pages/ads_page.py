"""The page of ads that were judged: each beside its record, its answers, and what moved them.

A single HTML file without scripts or outside references; text is escaped by jinja2, pictures are
small and part of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import DataError
from adwright.creative.pages.shown import Answer, ShownAd
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.charts import interval_chart, to_svg
from adwright.metrics.reports.page import inline_svg, page_environment

__all__ = ["ads_page", "record_facts", "write_ads_page"]

#: Ads in a chart, ads with all details, scenes of one ad.
_CHART, _DETAILS, _SCENES = 20, 50, 12
_LABEL = 48


@dataclass(frozen=True)
class _Bar:
    name: str
    text: str
    width: float
    up: bool


def write_ads_page(
    path: str | Path,
    ads: Sequence[ShownAd],
    *,
    title: str,
    sentences: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write the page, whole or not at all. Raises as `ads_page`; ResourceError where the disk is
    full."""
    atomic_write_text(path, ads_page(ads, title=title, sentences=sentences, facts=facts))


def ads_page(
    ads: Sequence[ShownAd],
    *,
    title: str,
    sentences: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> str:
    """The page. sentences: said at its top. facts: how it was made. Ads stand in their order, the
    charts in that of the answers. Raises DataError where there is no ad."""
    if not ads:
        raise DataError("there is no ad to show", hint="give at least one")
    judges = list(dict.fromkeys(one.judge for ad in ads for one in ad.answers))
    charts = [chart for at, judge in enumerate(judges) if (chart := _chart(ads, judge, at))]
    values = {
        "title": title,
        "sentences": sentences,
        "facts": dict(facts or {}),
        "charts": charts,
        "ads": [_ad(ad) for ad in ads[:_DETAILS]],
        "left": len(ads) - _DETAILS,
    }
    environment = page_environment(__package__ or "")
    return environment.get_template("ads.html").render(values)


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


def _ad(ad: ShownAd) -> dict[str, object]:
    return {
        "name": ad.name,
        "title": ad.record.title or ad.record.text[:_LABEL] or ad.name,
        "picture": ad.picture,
        "facts": record_facts(ad.record),
        "answers": [_answer(one) for one in ad.answers],
    }


def _answer(one: Answer) -> dict[str, object]:
    most = max((abs(moved.change) for moved in one.moved), default=0.0)
    bars = [
        _Bar(
            moved.field,
            ("+" if moved.change >= 0 else "") + one.said(moved.change),
            100 * abs(moved.change) / most if most else 0.0,
            moved.change >= 0,
        )
        for moved in one.moved
    ]
    near = [(near.text, one.said(near.outcome), f"{near.similarity:.2f}") for near in one.near]
    return {
        "judge": one.judge,
        "value": one.said(one.value),
        "interval": f"{one.said(one.low)} to {one.said(one.high)}",
        "coverage": f"{one.coverage:.0%}",
        "unlike": one.unlike,
        "better": None if one.better is None else f"{one.better:.0%}",
        "bars": bars,
        "near": near,
    }


def _chart(ads: Sequence[ShownAd], judge: str, number: int) -> str:
    """The answers of one judge, the highest first; nothing for a single ad."""
    found = [(ad, answer) for ad in ads if (answer := ad.answer(judge)) is not None]
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
