"""Searches in W+ on drawn portraits: the trained generator moves the faces along SeFa's directions.

The truth of a moved face is the rule on the attributes that a reader sees in it: as good as the
reader, whose quality stands in each row. Portraits are drawn, so nobody's consent is needed; the
guard is measured by itself.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adwright.creative.editor.edit_kinds import EditContext, FaceMove
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.fitness import (
    FineNoise,
    Floats,
    IdentityDistance,
    LatentCloud,
    LatentDistance,
    Pixels,
    PlanFitness,
    SearchOutcome,
    Weighted,
)
from adwright.creative.editor.guard_rules import SKIN_LIMITS, DriftCheck, skin_tone
from adwright.creative.editor.job_faces import FaceDrift
from adwright.creative.editor.searches import (
    edit_at,
    genetic_search,
    gradient_ascent,
    random_search,
)
from adwright.creative.faces.aligning import FacePlace
from adwright.creative.faces.opened import GeneratorMover, sefa
from adwright.creative.faces.stylegan import FittedEncoder, FittedFaces, as_pictures
from benchmarks.creative.editing.cells import Rows
from benchmarks.creative.editing.drawn import DrawnTask
from benchmarks.creative.editing.drawn_rule import RuleJudge
from benchmarks.creative.editing.searches import CALLS, NOISE
from benchmarks.creative.faces_training.measures import AttributeReader, fit_reader

#: Weights as those of `adwright creative edit`.
_LATENT, _STOPPED = 0.05, 10.0
_DIRECTIONS, _SAMPLE = 10, 2000


_METHODS = ("genetic", "genetic, no penalties", "random", "ascent")


def face_rows(task: DrawnTask, folder: Path, count: int) -> Rows:
    """A row an ad and search of moves of its face along ten directions."""
    tools = _Tools(task, folder)
    return [
        {"ad": row, "method": method, **tools.searched(row, method)}
        for row in list(task.held_rows)[:count]
        for method in _METHODS
    ]


class _Tools:
    """The model of faces in a folder, and a reader of the attributes that the rule names."""

    def __init__(self, task: DrawnTask, folder: Path) -> None:
        self.task, self.faces = task, FittedFaces.load(folder / "faces")
        self.encoder = FittedEncoder.load(folder / "encoder")
        generator = self.faces.generator
        self.directions = sefa(generator, _DIRECTIONS)
        self.names = tuple(f"direction {at}" for at in range(_DIRECTIONS))
        self.mover = GeneratorMover(generator, self.plus, self.directions, names=self.names)
        drawn = generator.latents(_normal(_SAMPLE, generator.config.wide)).detach().numpy()
        self.cloud = LatentCloud.of(drawn)
        named = ("smile", "dark_glasses", "hat")
        self.labels = {name: task.ads.portraits.labels[name] for name in named}
        self.reader = fit_reader(as_pictures(task.ads.pictures), self.labels, seed=50 + task.seed)

    def plus(self, pictures: Tensor) -> Tensor:
        """W+ [N, rows, D]."""
        return self.encoder.invert(self.faces, pictures)

    def embedding(self, crops: Pixels) -> Floats:
        """As `OpenedFaces.embedding`."""
        found = self.plus(as_pictures(crops)) - self.faces.generator.mean
        return np.asarray(found.double().reshape(len(crops), -1).numpy())

    def measures(self, picture: Pixels) -> tuple[LatentDistance, IdentityDistance, FaceDrift]:
        """What a move of the picture's face costs; weights are those of the command."""
        plus = self.plus(as_pictures(picture[None])).double().numpy()
        vectors = {name: self.mover.vector(name) for name in self.names}
        return (
            LatentDistance(self.cloud, plus, vectors, self.directions.rows),
            IdentityDistance(self.embedding, self.faces.generator.config.side),
            FaceDrift(DriftCheck(skin_tone, SKIN_LIMITS)),
        )

    def searched(self, row: int, method: str) -> dict[str, float | int | bool]:
        """One search of one ad."""
        task, picture = self.task, self.task.ads.pictures[row]
        far, same, drift = self.measures(picture)
        side, plain = picture.shape[0], method.endswith("no penalties")
        penalties = (
            Weighted(FineNoise(), NOISE),
            Weighted(far, _LATENT),
            Weighted(same, _LATENT),
            Weighted(drift, _STOPPED),
        )
        place = FacePlace.of_box(0, 0, side, side)
        fitness = PlanFitness(
            EditPlan((FaceMove.neutral(self.names, 1),)),
            picture,
            EditContext(None, None, (place,), self.mover, "feather"),
            judges=(task.first,),
            penalties=() if plain else penalties,
            bound="mean" if plain else "lower",
            scales=(float(task.first.judge(picture[None])[0]),),
        )
        start = time.process_time()
        go = partial(_search, method=method, seed=task.seed)
        found = edit_at(fitness, go(fitness), second=task.second)
        spent = time.process_time() - start
        said = self.truth(row).judge(np.stack([picture, found.done.picture]))
        done = fitness.batch(found.plan.values()[None])
        return {
            "cpu_seconds": spent,
            "calls": found.calls,
            "score_gain": found.score_gain,
            "predicted": found.first.relative,
            "second": float("nan") if found.second is None else found.second.relative,
            "truth": float(said[1] / said[0] - 1),
            "changed": found.changed,
            "latent_distance": float(far.of(done)[0]),
            "identity_distance": float(same.of(done)[0]),
            "drift_stopped": bool(drift.of(done)[0] > 1),
            "reader_quality": float(np.mean(list(self.reader.quality.values()))),
        }

    def truth(self, row: int) -> RuleJudge:
        """The rule, on what the reader sees in a moved face."""
        rule, known = self.task.ads.rule, self.task.ads.labels_of(row)
        return RuleJudge(rule, known, reader=lambda some: _read(self.reader, self.labels, some))


def _search(fitness: PlanFitness, method: str, seed: int) -> SearchOutcome:
    if method == "random":
        return random_search(fitness, calls=CALLS, seed=seed)
    if method == "ascent":
        return gradient_ascent(fitness, calls=CALLS)
    return genetic_search(fitness, seed=seed)


def _read(
    reader: AttributeReader, labels: dict[str, np.ndarray], pictures: Pixels
) -> dict[str, Floats]:
    """What the reader sees, in the units of the labels, 0 to 1."""
    read = reader.read(as_pictures(pictures)).double().numpy()
    made = {}
    for at, name in enumerate(reader.names):
        values = labels[name]
        found = values.mean() + values.std(ddof=1) * read[:, at]
        made[name] = np.asarray(np.clip(found, 0, 1), np.float64)
    return made


def _normal(count: int, wide: int) -> Tensor:
    return torch.randn(count, wide, generator=torch.Generator().manual_seed(0))
