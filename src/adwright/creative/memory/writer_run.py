"""A writer that learned from what was remembered, with its judges, as one folder.

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

from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, DataError, ResumeError
from adwright.creative.judging import AdJudge
from adwright.creative.memory.seed.config import SeedConfig
from adwright.creative.memory.seed.improve import ImprovedAd, improve
from adwright.creative.memory.seed.judges import ModelEncoder, two_judges
from adwright.creative.memory.seed.pool import KnownAd, SeedData, known_ads
from adwright.creative.memory.seed.report import SeedReport
from adwright.creative.memory.seed.rounds import run_seed
from adwright.creative.memory.seed.texts.brief import BriefKind
from adwright.creative.memory.seed.writer import TunedWriter
from adwright.creative.records.ads_table import AdTable
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm
from adwright.lm.sentence_encoder import SentenceEncoder

__all__ = ["Rewritten", "rewrite", "train_writer"]

_ASKED = "asked.json"
_TOKENS = 64


@dataclass(frozen=True)
class Rewritten:
    """ids: of the ads that could be written anew, those that have all that their kind needs.
    found: what may take their place. left: how many ads had not."""

    ids: tuple[str, ...]
    found: tuple[ImprovedAd, ...]
    left: int


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
    _keep(out, asked)
    with _judges(data.labelled, config, model, offline=offline) as judges:
        writer = TunedWriter(model=model, offline=offline)
        return run_seed(config, data, writer, *judges, out)


def rewrite(table: AdTable, out: Path, *, samples: int = 8, offline: bool = False) -> Rewritten:
    """Write ads anew by the writer of a folder, see `improve`. Raises ArtifactError where there is
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
        found = improve(ads, out, config, writer, *judges, samples=samples)
    ids = tuple(rows[ad.brief.id] for ad in ads)
    return Rewritten(ids, found, len(table) - len(ads))


@contextmanager
def _judges(
    labelled: Sequence[KnownAd], config: SeedConfig, model: str, *, offline: bool
) -> Iterator[tuple[AdJudge, AdJudge]]:
    with closing(open_lm(LmSpec(model, "torch", offline=offline))) as base:
        encoders = ModelEncoder(base), SentenceEncoder(longest=_TOKENS, offline=offline)
        yield two_judges(labelled, config, *encoders)


def _keep(out: Path, asked: dict[str, Any]) -> None:
    """Write what was asked for; a run of something else is refused."""
    path = out / _ASKED
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, json.dumps(asked, ensure_ascii=False) + "\n")
        return
    before = _asked(out)
    for name in ("kind", "model", "digest"):
        if before.get(name) != asked[name]:
            raise ResumeError(
                f"this folder holds a run of another {'data' if name == 'digest' else name}",
                where=str(out),
                hint="name another folder with --out",
            )
    atomic_write_text(path, json.dumps(asked, ensure_ascii=False) + "\n")


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
