"""Predictors of drawn ads' click rates: without faces, with latents of the faces, and with the
attributes that the rule is made of, which is the most that a predictor could know."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.hashing import sha256_bytes
from adwright.creative.faces.stylegan import FittedEncoder, FittedFaces, as_pictures
from adwright.creative.judging import IMAGE
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.encoders import ImageEncoder
from adwright.creative.response.fit import ClickRateConfig, fit_click_rate
from adwright.creative.response.inputs import encoded_texts
from adwright.creative.response.outcomes import CreativeOutcomes
from adwright.metrics.ranking import spearman
from benchmarks.creative._clickrate_measures import paper_form
from benchmarks.creative.editing.cells import Rows
from benchmarks.creative.editing.drawn_rule import DrawnAds, drawn_ads

#: Principal components of the latents that the predictor is given.
LATENT_PARTS = 64
LATENTS = "image and face latents"
_POOL = 7
Vectors = Mapping[str, NDArray[np.float32]]


def predictor_rows(seed: int, count: int) -> Rows:
    """A row a system without faces, on a fifth of the ads, which no system learned from."""
    ads = _pool(count)
    train, held = _parted(seed, count)
    labels = np.stack([ads.portraits.labels[name] for name in sorted(ads.portraits.labels)], 1)
    flat = np.full(len(held), ads.rates[train].mean())
    rows: Rows = [{"system": "one rate for all", **_form(flat, _outcomes(ads).take(held))}]
    more: dict[str, Vectors] = {
        "image": {},
        "image and true attributes": {"attributes": labels.astype(np.float32)},
    }
    return rows + _measured(seed, ads, more)


def latent_rows(seed: int, count: int, faces: Path) -> Rows:
    """The row of the system with latents of the faces beside the image. faces: folder with a
    generator and its encoder."""
    ads, (train, _) = _pool(count), _parted(seed, count)
    plus = face_latents(count, faces).reshape(count, -1)
    return _measured(seed, ads, {LATENTS: {"faces": _parts(plus, train)}})


def _measured(seed: int, ads: DrawnAds, systems: Mapping[str, Vectors]) -> Rows:
    """Of each system, which reads the image and what else is named."""
    count, rows = len(ads.rates), []
    images, outcomes = _image_vectors(ads), _outcomes(ads)
    train, held = _parted(seed, count)
    true = outcomes.take(held)
    for name, more in systems.items():
        vectors = {IMAGE: images, **more}
        start = time.process_time()
        some = {key: value[train] for key, value in vectors.items()}
        model = fit_click_rate(
            outcomes.take(train), ClickRateConfig(seed=seed), texts=encoded_texts("hashed"),
            vectors=some,
        )  # fmt: skip
        told = model.judge(true.records, {key: value[held] for key, value in vectors.items()})
        rate = told.value.astype(np.float64)
        rows.append(
            {
                "system": name,
                **_form(rate, true),
                "spearman_true": spearman(rate, ads.rates[held]),
                "cpu_seconds": time.process_time() - start,
            }
        )
    return rows


@cache
def face_latents(count: int, faces: Path) -> NDArray[np.float64]:
    """float64 [N, rows, D]: W+ of each portrait; the same for every seed."""
    ads = _pool(count)
    generator = FittedFaces.load(faces / "faces")
    encoder = FittedEncoder.load(faces / "encoder")
    found = encoder.invert(generator, as_pictures(ads.pictures))
    return np.asarray(found.double().numpy())


@cache
def _pool(count: int) -> DrawnAds:
    return drawn_ads(count, seed=_POOL)


def _parted(seed: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from, four fifths, and to judge by."""
    order = np.random.default_rng(seed).permutation(count)
    cut = count * 4 // 5
    return np.sort(order[:cut]), np.sort(order[cut:])


def _form(rates: NDArray[np.float64], outcomes: CreativeOutcomes) -> dict[str, float]:
    return paper_form(outcomes, [np.arange(len(outcomes))], rates)


def _outcomes(ads: DrawnAds) -> CreativeOutcomes:
    count = len(ads.rates)
    return CreativeOutcomes(
        records=tuple(AdRecord(kind="image", title=f"portrait {at}") for at in range(count)),
        ids=tuple(f"a{at}" for at in range(count)),
        impressions=np.full(count, ads.impressions, np.int64),
        clicks=ads.clicks,
        tests=np.full(count, -1, np.int64),
    )


def _image_vectors(ads: DrawnAds) -> NDArray[np.float32]:
    """float32 [N, 1280], kept in the cache folder: the same ads serve every seed."""
    from PIL import Image

    name = sha256_bytes(ads.pictures.tobytes())[:16]
    path = cache_folder() / "bench" / "editor" / f"images-{name}.npy"
    if path.exists():
        kept: NDArray[np.float32] = np.load(path)
        return kept
    images = (Image.fromarray(one) for one in ads.pictures)
    found = ImageEncoder().encode_pictures(images, len(ads.rates))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, found)
    return found


def _parts(plus: NDArray[np.float64], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 [N, P]: principal components, fitted on the rows to train on."""
    mean = plus[train].mean(0)
    _, _, axes = np.linalg.svd(plus[train] - mean, full_matrices=False)
    return np.asarray((plus - mean) @ axes[:LATENT_PARTS].T, np.float32)
