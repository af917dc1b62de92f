"""A guard that was fitted, as an artifact: so that what is usual stays what it was.

    save_guard(guard, "watch/kettles.guard")
    load_guard("watch/kettles.guard").look(texts)      # says what the guard itself does

It holds counts of characters, middles and spreads of features, weights and scores: of the texts
themselves no more can be read from it than runs of as many characters as the model's order. A guard
that another release fitted on other features is refused, since its weights are of something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.audit.defences.guard.char_model import CharModel, NgramTable
from adwright.audit.defences.guard.conformal import Calibration
from adwright.audit.defences.guard.features import FEATURES
from adwright.audit.defences.guard.formats import Formats, TextFormat
from adwright.audit.defences.guard.guard import GuardConfig, TextGuard
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError

GUARD_KIND = "text-guard"
_COLUMNS = ("grams", "counts", "histories", "totals", "followers")
Arrays = dict[str, npt.NDArray[Any]]


def save_guard(
    guard: TextGuard,
    folder: str | Path,
    *,
    data_hash: str = "",
    seed: int = 0,
    overwrite: bool = False,
) -> str:
    """Write the artifact; returns its id. data_hash, seed: of the texts, and of how they were
    split. Raises as `save_artifact`."""
    formats = guard.formats
    arrays: Arrays = {"weights": guard.weights, "least": formats.least}
    _put(arrays, "general", formats.general)
    for at, form in enumerate(formats.known.values()):
        arrays |= {f"format/{at}/middle": form.middle, f"format/{at}/spread": form.spread}
        if form.local is not formats.general:
            _put(arrays, f"format/{at}", form.local)
    for at, scores in enumerate(guard.calibration.scores.values()):
        arrays[f"scores/{at}"] = np.asarray(scores, np.float64)
    config = {
        "guard": to_jsonable(guard.config),
        "features": list(FEATURES),
        "general": formats.general.order,
        "formats": [
            {"key": list(key), "order": 0 if one.local is formats.general else one.local.order}
            for key, one in formats.known.items()
        ],
        "groups": [list(key) for key in guard.calibration.scores],
    }
    return save_artifact(
        folder,
        kind=GUARD_KIND,
        config=config,
        tensors=arrays,
        data_hash=data_hash,
        seed=seed,
        overwrite=overwrite,
    )


def load_guard(folder: str | Path) -> TextGuard:
    """The guard of an artifact. Raises as `load_artifact`, and ArtifactError where it is not what
    `save_guard` writes, or of other features than this release has."""
    found = load_artifact(folder, kind=GUARD_KIND)
    config, arrays = found.config, found.tensors
    if config.get("features") != list(FEATURES):
        raise ArtifactError(
            "the guard was fitted on other features",
            where=str(folder),
            hint="fit it anew with this release",
        )
    try:
        return _guard(config, arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(
            f"this is no whole guard: {error!r}"[:200], where=str(folder), hint="fit it anew"
        ) from error


def _guard(config: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> TextGuard:
    width = len(FEATURES)
    general = _model(arrays, "general", int(config["general"]), None)
    known = {}
    for at, one in enumerate(config["formats"]):
        order, place = int(one["order"]), f"format/{at}"
        local = _model(arrays, place, order, general) if order else general
        middle, spread = (
            _floats(arrays, f"{place}/{name}", width) for name in ("middle", "spread")
        )
        known[tuple(map(str, one["key"]))] = TextFormat(local, middle, spread)
    if () not in known:
        raise ValueError("there is no format of all texts")
    scores = {
        tuple(map(str, key)): tuple(sorted(_floats(arrays, f"scores/{at}").tolist()))
        for at, key in enumerate(config["groups"])
    }
    return TextGuard(
        Formats(general, known, _floats(arrays, "least", width)),
        _floats(arrays, "weights", 1 + width),
        Calibration(scores),
        from_jsonable(GuardConfig, config["guard"]),
    )


def _put(arrays: Arrays, place: str, model: CharModel) -> None:
    for order, table in enumerate(model.tables):
        for name in _COLUMNS:
            arrays[f"{place}/{order}/{name}"] = getattr(table, name)


def _model(
    arrays: Mapping[str, npt.NDArray[Any]], place: str, order: int, base: CharModel | None
) -> CharModel:
    tables = []
    for at in range(order):
        grams, counts, histories, totals, followers = (
            arrays[f"{place}/{at}/{name}"] for name in _COLUMNS
        )
        if len(grams) != len(counts) or not len(histories) == len(totals) == len(followers) > 0:
            raise ValueError(f"the table {place}/{at} has columns of several lengths")
        tables.append(NgramTable(grams, counts, histories, totals, followers))
    return CharModel(tuple(tables), base)


def _floats(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, size: int | None = None
) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = arrays[name].astype(np.float64)
    if found.ndim != 1 or (size is not None and len(found) != size) or not np.isfinite(found).all():
        raise ValueError(f"{name} is not {size if size is not None else 'a row of'} finite numbers")
    return found
