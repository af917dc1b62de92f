"""The tables of judges of ads: memorability, seed and verbaliser of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, figures_of, number, result, source

PARTS = {"slogans": "slogans, d'", "ads": "video ads, recall", "sentences": "sentences, accuracy"}
SEEN = {
    "all": "everything",
    "decode": "opening",
    "scenes": "frames, cuts and motion",
    "colours": "colours, tone, complexity",
    "words": "text on the screen",
    "faces": "faces",
    "tags": "things",
    "cached": "everything, a second time",
}


def recall() -> Iterator[str]:
    """Spearman's rho of each system on each set, brands held out."""
    yield "| set | system | ads | rho, brands held out |"
    yield "|---|---|---|---|"
    for row in result("memorability").get("rows", ()):
        rho = f"{row['rho']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        seeds = "" if row["seeds"] > 1 else ", one seed"
        part = PARTS.get(row["part"], row["part"])
        alone = "network alone, " if row["system"] == "encoder form" else ""
        yield f"| {part} | {alone}{row['system']}{seeds} | {row['rows']:,} | {rho} |"
    figures = figures_of("memorability")
    if figures:
        yield ""
        seen = number(figures.get("ad_recall_rho_brands_seen"), ".3f")
        name = number(figures.get("ad_brand_alone_rho_brands_out"), ".3f")
        lift = _with_ends(figures, "content_lift_rho")
        yield (
            f"Of the video ads, with brands seen: {seen}; of the brand's name alone, brands held "
            f"out: {name}; of the content beyond its brand: {lift}."
        )
    yield ""
    yield _protocol("memorability", "Recall is")
    yield from source("memorability")


def seed() -> Iterator[str]:
    """What the rounds of SEED brought, by each judge."""
    figures = figures_of("seed")
    yield "| gain of the chosen writer over the original ads | value | interval |"
    yield "|---|---|---|"
    for key, said in (
        ("gain_own_judge", "by the judge that chooses"),
        ("gain_second_judge", "by the second judge, which no round learns from"),
        ("gain_third_judge", "by a third one, which chooses nothing"),
        ("rise_second_judge", "beyond the writer of before the rounds, by the second judge"),
    ):
        if key in figures:
            ends = number(figures.get(f"{key}_ci"), "+.1%")
            yield f"| {said} | {figures[key]:+.1%} | {ends} |"
    yield ""
    yield _protocol("seed", "The rounds are")
    yield from source("seed")


def seeing() -> Iterator[str]:
    """What looking at a picture and at a second of video costs."""
    figures = figures_of("verbaliser")
    yield "| part | CPU-ms a picture | CPU-ms a second of video |"
    yield "|---|---|---|"
    for part, said in SEEN.items():
        image = figures.get(f"image_{part}_cpu_ms")
        video = figures.get(f"video_{part}_cpu_ms_a_second")
        if image is not None or video is not None:
            cells = ["" if one is None else _cost(one) for one in (image, video)]
            yield f"| {said} | {' | '.join(cells)} |"
    yield ""
    yield _protocol("verbaliser", "The cost of looking is")
    yield from source("verbaliser")


def _protocol(name: str, what: str) -> str:
    return str(result(name).get("protocol", f"{what} {ABSENT}."))


def _with_ends(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    ends = row.get(f"{key}_ci")
    return _three(row[key]) + (f" ({number(ends, '.3f')})" if ends else "")


def _three(value: object) -> str:
    return "" if value is None else number(value, ".3f")


def _cost(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


CREATIVE: Mapping[str, Callable[[], Iterator[str]]] = {
    "judging-recall": recall,
    "judging-seed": seed,
    "judging-seeing": seeing,
}
