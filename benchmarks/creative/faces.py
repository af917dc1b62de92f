"""Train tier 0, portraits of 32 pixels, with its encoder, and measure both (about 3 CPU-hours).

    python -m benchmarks.creative.faces                   what is missing, and the result
    python -m benchmarks.creative.faces --minutes 60      stop after so many; the same call goes on
    python -m benchmarks.creative.faces --measure         train nothing; measure what is there
    python -m benchmarks.creative.faces --size 64         tier 1: 64 pixels, 16 CPU-hours or so
    python -m benchmarks.creative.faces --threads 2       both trainings on two cores
    python -m benchmarks.creative.faces --trial           at a tiny size; keeps nothing

All lies in the cache folder, and goes on where it was stopped or killed. --measure takes the best
weights so far: a look at a run that goes on, whose result then says how far it is. Only a run that
is complete is put into the package, as float16 and with a model card, and only where all of it has
at most 6 MB. Tier 1 stays in the cache folder, as an artifact that the editor takes by its path.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.faces.opened import OpenedFaces
from adwright.creative.faces.stylegan import (
    DRAWN,
    FittedEncoder,
    FittedFaces,
    GeneratorConfig,
    as_pictures,
)
from benchmarks.common.result import PICTURES, RESULTS, Figure, write_result
from benchmarks.creative._face_card import face_card
from benchmarks.creative._face_directions import put_directions
from benchmarks.creative._face_measures import (
    DirectionSizes,
    direction_figures,
    exactness,
    reconstruction,
)
from benchmarks.creative.faces_training.encoder_fit import EncoderConfig, fit_encoder
from benchmarks.creative.faces_training.faces_fit import FacesConfig, fit_faces
from benchmarks.creative.faces_training.keeping import sample, save_encoder, save_faces
from benchmarks.creative.faces_training.measures import (
    AttributeReader,
    PictureFeatures,
    kernel_distance,
    save_sheet,
)
from benchmarks.creative.faces_training.portraits import LABELS, DrawnPortraits, draw_portraits

_PROTOCOL = (
    "Portraits of {side} pixels drawn with exact labels; held-out ones are of other seeds. KID on "
    "EfficientNet-Lite0 features, beside which no published KID stands. Identity: cosine distance "
    "of what a reader of attributes knows of both, a network that the encoder did not see in its "
    "training. A direction is named after the attribute of largest standardised change over "
    "{latents} latents moved by 2 sd both ways; hit: 3 times the median of the others; leak: the "
    "largest other change over it. Readers, latents and random directions differ by seed; "
    "intervals over directions, of pictures over pictures."
)
_MOST_MB = 6.0
_SHEET, _STAGES, _ACROSS = 64, 6, 8


@dataclass(frozen=True)
class FaceSizes:
    """pictures, held: portraits to train on and to judge by. faces, encoder: the trainings."""

    pictures: int = 40_000
    held: int = 2_000
    faces: FacesConfig = field(
        default_factory=lambda: FacesConfig(
            # By `usual_gamma` (.0064), batches of 32 and noise, the discriminator won within 150
            # thousand pictures; KID was .59 after 50 thousand and is .46 so after 20 thousand.
            generator=GeneratorConfig(
                side=32, wide=256, layers=2, base=1024, most=128, noise=False
            ),
            kimg=400,
            batch=16,
            rate=0.002,
            gamma=0.3,
            path_every=8,
            validate_kimg=25.0,
        )
    )
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(width=44))
    directions: DirectionSizes = field(default_factory=DirectionSizes)


#: Of tier 0 and tier 1, by the side of the pictures.
_SIZES = {
    32: FaceSizes(),
    64: FaceSizes(
        pictures=40_000,
        faces=FacesConfig(
            generator=GeneratorConfig(side=64, wide=256, base=2048, most=256, noise=False),
            kimg=1000,
            gamma=1.0,
        ),
        encoder=EncoderConfig(width=64),
    ),
}
_TRIAL = FaceSizes(
    pictures=400,
    held=80,
    faces=FacesConfig(
        generator=GeneratorConfig(side=32, wide=16, layers=2, base=128, most=16),
        kimg=0.128,
        batch=16,
        validate_kimg=0.064,
        samples=40,
    ),
    encoder=EncoderConfig(
        width=8, pair_steps=4, steps=8, validate_every=4, unlock_start=1, unlock_every=1, samples=16
    ),
    directions=DirectionSizes(latents=20, labelled=200, epochs=1, seeds=(0, 1)),
)


class _Meter:
    """Counts steps and their CPU-seconds, into a file beside the run; stops it after some minutes.

    The first step of each call is not counted, for it comes after the set-up. Validations and
    checkpoints are; so is, twice, what a kill made the run train again.
    """

    def __init__(self, path: Path, until: float | None) -> None:
        self.path, self.until = path, until
        self.steps, self.seconds = 0, 0.0
        if path.exists():
            steps, seconds = path.read_text("utf-8").split()
            self.steps, self.seconds = int(steps), float(seconds)
        self._last: float | None = None

    def __call__(self, steps: int) -> None:
        """A step was taken."""
        now = time.process_time()
        if self._last is not None:
            self.steps, self.seconds = self.steps + 1, self.seconds + now - self._last
        self._last = now
        if self.until is not None and time.monotonic() > self.until:
            raise KeyboardInterrupt

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write what was counted at the end, however it ends."""
        try:
            yield
        finally:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(self.path, f"{self.steps} {self.seconds}\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, measure, and write benchmarks/results/faces.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many")
    parser.add_argument("--measure", action="store_true", help="train nothing")
    parser.add_argument("--size", type=int, choices=_SIZES, default=32, help="pixels (32)")
    parser.add_argument("--threads", type=int, default=1, help="of the trainings (1)")
    parser.add_argument("--trial", action="store_true", help="a tiny size, keeping nothing")
    asked = parser.parse_args(argv)
    torch.set_num_threads(asked.threads)
    # A shell that starts this in the background has Ctrl-C ignored: a stop has to be one for all.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    until = time.monotonic() + 60 * asked.minutes if asked.minutes else None
    if asked.trial:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            bench = _Bench(_TRIAL, place, place / "drawn", place / "pictures", place)
            bench.train(until)
            bench.publish()
            OpenedFaces.load(bench.drawn_home, bench.drawn_home / "directions.toml")
        return
    name = "faces" if asked.size == 32 else f"faces_{asked.size}"
    bench = _Bench(_SIZES[asked.size], cache_folder() / "bench" / name)
    if not asked.measure and not bench.train(until):
        print("stopped; the same call goes on")
    elif (bench.folder / "run-faces").exists():
        bench.publish()
    else:
        parser.error("nothing is trained yet")


class _Bench:
    """Training and measuring of one size, in one folder."""

    def __init__(
        self,
        sizes: FaceSizes,
        folder: Path,
        drawn_home: Path = DRAWN,
        pictures: Path = PICTURES,
        results: Path = RESULTS,
    ) -> None:
        self.sizes, self.folder = sizes, folder
        self.drawn_home, self.pictures_home, self.results = drawn_home, pictures, results
        self.side = sizes.faces.generator.side
        self.drawn = _portraits(folder / "portraits.npz", sizes.pictures + sizes.held, self.side)
        cut = sizes.pictures
        self.pictures, self.held = self.drawn.pictures[:cut], self.drawn.pictures[cut:]
        self.data = content_hash([sha256_bytes(self.drawn.pictures.tobytes())])

    def train(self, until: float | None) -> bool:
        """Both trainings, as far as the time goes; whether they are done."""
        try:
            if not (self.folder / "faces").exists():
                self._faces(until)
            if not (self.folder / "encoder").exists():
                self._encoder(until)
        except KeyboardInterrupt:
            return False
        return True

    def _faces(self, until: float | None) -> None:
        out, meter = self.folder / "run-faces", _Meter(self.folder / "faces.cost", until)
        with meter.kept():
            faces = fit_faces(
                self.pictures,
                self.held,
                self.sizes.faces,
                about="portraits drawn in the style pixel-art of DiceBear (CC0 1.0)",
                out=out,
                resume=(out / "config.json").is_file(),
                on_step=meter,
            )
        save_faces(faces, self.folder / "faces")

    def _encoder(self, until: float | None) -> None:
        out, meter = self.folder / "run-encoder", _Meter(self.folder / "encoder.cost", until)
        with meter.kept():
            encoder = fit_encoder(
                FittedFaces.load(self.folder / "faces"),
                self.pictures,
                self.held,
                self.sizes.encoder,
                about="portraits drawn in the style pixel-art of DiceBear (CC0 1.0)",
                out=out,
                resume=(out / "config.json").is_file(),
                on_step=meter,
            )
        save_encoder(encoder, self.folder / "encoder")

    def models(self) -> tuple[FittedFaces, FittedEncoder | None]:
        """What is trained; of a generator that is not done the best weights so far."""
        whole = self.folder / "faces"
        if whole.exists():
            faces = FittedFaces.load(whole)
        else:
            # In a copy, so that the run itself goes on as it would.
            with tempfile.TemporaryDirectory() as place:
                copied = shutil.copytree(self.folder / "run-faces", Path(place) / "run")
                given = (self.pictures, self.held, self.sizes.faces)
                faces = fit_faces(*given, out=copied, resume=True, stop_now=True)
        there = self.folder / "encoder"
        return faces, FittedEncoder.load(there) if there.exists() else None

    def measured(
        self, faces: FittedFaces, encoder: FittedEncoder | None
    ) -> tuple[dict[str, Figure], list[dict[str, Any]], AttributeReader]:
        """Figures, rows of the tables, and the reader of attributes that they were read by."""
        sizes = self.sizes
        features, held = PictureFeatures(), as_pictures(self.held)
        half = len(held) // 2
        count = min(half, 500)
        real = features.of(held[:count])
        found: dict[str, Figure] = {
            **exactness(),
            "kimg": max((line["kimg"] for line in faces.records), default=0.0),
            "kid_lite0": kernel_distance(features.of(sample(faces, count, seed=1)), real),
            "kid_lite0_real": kernel_distance(features.of(held[half : half + count]), real),
        }
        meter = _Meter(self.folder / "faces.cost", None)
        found["train_cpu_seconds"] = meter.seconds
        found["images_per_cpu_second"] = meter.steps * sizes.faces.batch / max(meter.seconds, 1e-9)
        rows: list[dict[str, Any]] = [
            {"table": "training", **{k: v for k, v in line.items() if k != "epoch"}}
            for line in faces.records
        ]
        told, more, reader = direction_figures(faces, self.drawn, sizes.directions)
        found, rows = found | told, rows + more
        if encoder is not None:
            told, sheet = reconstruction(faces, encoder, held[: sizes.encoder.samples], reader)
            found |= told
            save_sheet(self.folder / "reconstructed.png", sheet, columns=12)
            rows += [{"table": "encoder", **line} for line in encoder.records]
        return found, rows, reader

    def _told(self, faces: FittedFaces, encoder: FittedEncoder | None) -> dict[str, Any]:
        config, shape = self.sizes.faces, faces.generator.config
        weights = [sum(p.numel() for p in faces.generator.parameters()), 0]
        if encoder is not None:
            weights[1] = sum(p.numel() for p in encoder.encoder.parameters())
        return {
            "pictures": self.sizes.pictures,
            "parameters": weights[0],
            "encoder_parameters": weights[1],
            "rows": shape.rows,
            "kimg": max((line["kimg"] for line in faces.records), default=0.0),
            "batch": config.batch,
            "rate": config.rate,
            "seed": config.seed,
            "cpu_seconds": _Meter(self.folder / "faces.cost", None).seconds,
            "pair_steps": self.sizes.encoder.pair_steps,
            "encoder_steps": self.sizes.encoder.steps,
        }

    def publish(self) -> None:
        """The result; and of a complete run the package's artifact and the pictures."""
        faces, encoder = self.models()
        figures, rows, reader = self.measured(faces, encoder)
        done = (self.folder / "faces").exists() and encoder is not None
        if done and self.side == 32:
            home = self.drawn_home
            size = _put(home, faces, encoder, say=lambda text: print(text, flush=True))
            put_directions(home, faces.generator, reader, count=self.sizes.directions.labelled)
            figures["checkpoint_mb"] = size / 1e6
            there = encoder if (home / "encoder").exists() else None
            told = {**self._told(faces, there), "bytes": size}
            atomic_write_text(home / "README.md", face_card(told, figures))
        if self.side == 32:
            self._sheets()
        write_result(
            "faces" if self.side == 32 else f"faces_{self.side}",
            protocol=_PROTOCOL.format(side=self.side, latents=self.sizes.directions.latents)
            + ("" if done else " The training is not complete."),
            data=self.data,
            seeds=self.sizes.directions.seeds,
            rows=[{"table": "settings", **to_jsonable(self.sizes.faces)}, *rows],
            figures=figures,
            folder=self.results,
        )

    def _sheets(self) -> None:
        """Of so many stages of the training a line of samples each, for the docs; and the last."""
        every = sorted((self.folder / "run-faces" / "samples").glob("*.png"))
        if not every:
            return
        chosen = [every[at] for at in np.linspace(0, len(every) - 1, _STAGES).round().astype(int)]
        lines = []
        for path in chosen:
            with Image.open(path) as image:
                lines.append(image.convert("RGB").crop((0, 0, image.width, image.width // _ACROSS)))
        sheet = Image.new("RGB", (lines[0].width, sum(line.height for line in lines)))
        for at, line in enumerate(lines):
            sheet.paste(line, (0, at * line.height))
        self.pictures_home.mkdir(exist_ok=True)
        sheet.save(self.pictures_home / "faces_stages.png", optimize=True)
        there = self.folder / "reconstructed.png"
        if there.exists():
            with Image.open(there) as image:
                image.save(self.pictures_home / "faces_inverted.png", optimize=True)


def _put(
    home: Path, faces: FittedFaces, encoder: FittedEncoder | None, *, say: Callable[[str], None]
) -> int:
    """Both models into the package, where they have at most 6 MB; their bytes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_faces(faces, folder / "faces", half=True, discriminator=False)
        if encoder is not None:
            save_encoder(encoder, folder / "encoder", half=True)
        if _bytes(folder) > 1e6 * _MOST_MB and encoder is not None:
            say("the encoder is left out: with it the files are too large")
            shutil.rmtree(folder / "encoder")
        size = _bytes(folder)
        if size > 1e6 * _MOST_MB:
            raise ValueError(f"the generator has {size / 1e6:.1f} MB, more than {_MOST_MB}")
        for name in ("faces", "encoder"):
            shutil.rmtree(home / name, ignore_errors=True)
            if (folder / name).exists():
                shutil.copytree(folder / name, home / name)
    return size


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _portraits(path: Path, count: int, side: int) -> DrawnPortraits:
    """So many portraits, drawn once."""
    if path.exists():
        with np.load(path) as kept:
            if len(kept["pictures"]) == count:
                labels = dict(zip(LABELS, kept["labels"], strict=True))
                return DrawnPortraits(kept["pictures"], labels, ())
    drawn = draw_portraits(count, seed=0, side=side)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".part").open("wb") as file:
        every = np.stack([drawn.labels[name] for name in LABELS])
        np.savez_compressed(file, pictures=drawn.pictures, labels=every)
    path.with_suffix(".part").replace(path)
    return replace(drawn, options=())


if __name__ == "__main__":
    main()
