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

from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.search.ascent import gradient_ascent
from adwright.creative.editor.search.drawn_rule import RuleJudge
from adwright.creative.editor.search.fitness import FitnessSettings, PlanFitness, Weighted
from adwright.creative.editor.search.genetic import genetic_search
from adwright.creative.editor.search.latent_cloud import LatentCloud
from adwright.creative.editor.search.penalties import FineNoise, LatentDistance
from adwright.creative.editor.search.picture_judge import Floats, Pixels
from adwright.creative.editor.search.random_search import random_search
from adwright.creative.editor.search.result import find_edit
from adwright.creative.editor.search.settings import SearchOutcome
from adwright.creative.faces.aligning.mover import GeneratorMover
from adwright.creative.faces.aligning.paste import PasteSettings
from adwright.creative.faces.aligning.places import FacePlace
from adwright.creative.faces.attributes import AttributeReader, fit_reader
from adwright.creative.faces.directions import sefa
from adwright.creative.faces.fit import as_pictures
from adwright.creative.faces.fitted_faces import FittedFaces
from adwright.creative.faces.inversion.fitted_encoder import FittedEncoder
from benchmarks.creative.editing.cells import Rows
from benchmarks.creative.editing.drawn import DrawnTask
from benchmarks.creative.editing.searches import CALLS, NOISE

__all__ = ["face_rows"]

_DIRECTIONS, _LATENT, _SAMPLE = 10, 0.05, 2000


def face_rows(task: DrawnTask, folder: Path, count: int) -> Rows:
    """A row an ad and search of moves of its face along ten directions."""
    faces = FittedFaces.load(folder / "faces")
    encoder = FittedEncoder.load(folder / "encoder")
    directions = sefa(faces.generator, _DIRECTIONS)
    names = tuple(f"direction {at}" for at in range(_DIRECTIONS))
    mover = GeneratorMover(
        faces.generator, lambda x: encoder.invert(faces, x), directions, names=names
    )
    cloud = LatentCloud.of(
        faces.generator.latents(_normal(_SAMPLE, faces.generator.config.wide)).detach().numpy()
    )
    labels = {name: task.ads.portraits.labels[name] for name in ("smile", "dark_glasses", "hat")}
    reader = fit_reader(as_pictures(task.ads.pictures), labels, seed=50 + task.seed)
    rows: Rows = []
    for row in list(task.held_rows)[:count]:
        picture = task.ads.pictures[row]
        side = picture.shape[0]
        place = FacePlace.of_box(0, 0, side, side)
        context = EditContext(None, None, (place,), mover, PasteSettings("feather"))
        plan = EditPlan((FaceMove.neutral(names, 1),))
        plus = encoder.invert(faces, as_pictures(picture[None])).double().numpy()
        vectors = {name: mover.vector(name) for name in names}
        far = LatentDistance(cloud, plus, vectors, directions.rows)
        truth = RuleJudge(
            task.ads.rule,
            task.ads.labels_of(row),
            reader=lambda pictures: _read(reader, labels, pictures),
        )
        for method in ("genetic", "genetic, no penalties", "random", "ascent"):
            plain = method.endswith("no penalties")
            fitness = PlanFitness(
                plan,
                picture,
                context,
                judges=(task.first,),
                penalties=() if plain else (Weighted(FineNoise(), NOISE), Weighted(far, _LATENT)),
                settings=FitnessSettings(
                    bound="mean" if plain else "lower",
                    scales=(float(task.first.judge(picture[None])[0]),),
                ),
            )
            start = time.process_time()
            go = partial(_search, method=method, seed=task.seed)
            found = find_edit(fitness, go, second=task.second)
            pair = np.stack([picture, found.done.picture])
            said = truth.judge(pair)
            rows.append(
                {
                    "ad": row,
                    "method": method,
                    "cpu_seconds": time.process_time() - start,
                    "calls": found.calls,
                    "score_gain": found.score_gain,
                    "predicted": found.first.relative,
                    "second": float("nan") if found.second is None else found.second.relative,
                    "truth": float(said[1] / said[0] - 1),
                    "changed": found.changed,
                    "reader_quality": float(np.mean(list(reader.quality.values()))),
                }
            )
    return rows


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


def _normal(count: int, wide: int):  # type: ignore[no-untyped-def]
    import torch

    return torch.randn(count, wide, generator=torch.Generator().manual_seed(0))
