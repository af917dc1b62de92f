"""Edits of ads: what they gain by the judge, by a second one and in truth (about 10 CPU-minutes).

    python -m benchmarks.creative.editor                   what is missing, and the result
    python -m benchmarks.creative.editor --only searches   a part alone, no result
    python -m benchmarks.creative.editor --minutes 20      begin no cell after that
    python -m benchmarks.creative.editor --only-summarise  the result of what is finished
    python -m benchmarks.creative.editor --trial           at a tiny size; keeps nothing

Parts with a face need the generator of drawn portraits, which `python -m benchmarks.creative.faces`
trains: `--faces` names its folder, by default the package's own, else the cache's. Where there is
none, they are left out, and the same call adds them later.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash, sha256_bytes, sha256_file
from adwright.creative.faces.stylegan import DRAWN
from benchmarks.common.result import RESULTS, write_result
from benchmarks.creative.editing.cells import KEPT, Cell, Rows
from benchmarks.creative.editing.drawn import RULES, DrawnTask
from benchmarks.creative.editing.drawn_rule import SYNTHETIC
from benchmarks.creative.editing.face_searches import face_rows
from benchmarks.creative.editing.files import protected_rows, signed_rows
from benchmarks.creative.editing.guard_cases import guard_rows
from benchmarks.creative.editing.predictors import latent_rows, predictor_rows
from benchmarks.creative.editing.searches import CALLS, edit_rows, front_rows, speed_rows
from benchmarks.creative.editing.summary import figures_of, leads_of, rows_of
from benchmarks.creative.faces_training.portraits import draw_portraits

_PROTOCOL = (
    f"{SYNTHETIC[0].upper()}{SYNTHETIC[1:]}. "
    "Portraits of 32 pixels, each under a light of its own; clicks of {impressions:,} "
    "impressions are drawn by the rule. The searched judge, three small networks, learned "
    "from half of {count:,} ads (few: of {few:,}); the second, a ridge on the means of a "
    "grid, from the other half. {held} further ads a seed are edited: exposure, contrast, "
    "saturation, temperature, crop, 8 numbers, without a face. Every search judges {calls} "
    "pictures; ascent follows the judge's slope, three calls a step. The score is the lower "
    "bound of the ensemble less penalties of noise and of distance from the training "
    "pictures, as a share of the unedited rate; no penalties: the mean of the ensemble "
    "alone. Gains are relative, of all ads, also of those that no search changed; real: "
    "share of the changed ads whose true rate rose. kept: by the rule of `adwright creative "
    "edit`, lower bound above none and a second judge that agrees. Fronts: of three judges, "
    "each of a rule of its own, ten generations, against sums at equal calls. Predictors: "
    "EfficientNet-Lite0 of the picture, a fifth held out. 95% intervals over ads and seeds."
)
_FACES_SAID = (
    " Moves of faces: the trained generator moves {faced} of these portraits a seed along SeFa's "
    "first ten directions, with penalties also of the distance in W+, of identity and of drift of "
    "the skin; the truth of a moved face is the rule on what a reader of attributes sees in it."
)
_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class EditorSizes:
    """count, held, epochs, impressions: of `DrawnTask`. few: its count where judges know little.
    pool: ads of the predictors. signed, protected: files and plans. repeats: of the speed. faced:
    ads whose faces are searched."""

    count: int = 3000
    held: int = 30
    epochs: int = 8
    impressions: int = 2000
    few: int = 300
    pool: int = 1500
    signed: int = 60
    protected: int = 300
    repeats: int = 7
    faced: int = 20


_TRIAL = EditorSizes(
    count=200, held=3, epochs=1, few=60, pool=200, signed=3, protected=5, repeats=1, faced=1
)
_TASK = ("count", "held", "epochs", "impressions")
#: Sizes that a part depends on: another size is another cell.
_USES: Mapping[str, tuple[str, ...]] = {
    "searches": _TASK,
    "few": ("few", *_TASK[1:]),
    "fronts": _TASK,
    "predictors": ("pool",),
    "latents": ("pool",),
    "speed": (*_TASK, "repeats"),
    "files": ("signed",),
    "protected": ("protected",),
    "faces": (*_TASK, "faced"),
}
_SEEDED = ("searches", "few", "fronts", "predictors", "latents", "faces")
#: Parts that the trained generator is needed for.
_FACED = ("latents", "faces")
#: Parts whose ads are drawn: other drawings are another cell.
_DRAWN = ("searches", "few", "fronts", "predictors", "latents", "speed", "faces")
_ONCE = ("speed", "guards", "files", "protected")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, write benchmarks/results/editor.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=(*_SEEDED, *_ONCE), action="append", help="these parts")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no cell after so many")
    parser.add_argument("--faces", type=Path, help="folder with the artifacts faces and encoder")
    parser.add_argument("--only-summarise", action="store_true", help="measure nothing")
    parser.add_argument("--trial", action="store_true", help="a tiny size, keeping nothing")
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    faces = asked.faces or _faces()
    if faces is None:
        print("no model of faces: run python -m benchmarks.creative.faces, then this again")
    if asked.trial:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            bench = _Bench(_TRIAL, faces, place)
            bench.run(asked.only or (*_SEEDED, *_ONCE), seeds=(0, 1), minutes=0)
            bench.write((0, 1), place)
        return
    bench = _Bench(EditorSizes(), faces, KEPT)
    if not asked.only_summarise:
        bench.run(asked.only or (*_SEEDED, *_ONCE), seeds=_SEEDS, minutes=asked.minutes)
    if not asked.only:
        bench.write(_SEEDS, RESULTS)


class _Bench:
    """All parts at one size."""

    def __init__(self, sizes: EditorSizes, faces: Path | None, folder: Path) -> None:
        self.sizes, self.faces, self.folder = sizes, faces, folder
        # Of the weights: a manifest says also when it was written.
        parts = ("encoder", "faces")
        weights = [] if faces is None else [faces / one / "tensors.safetensors" for one in parts]
        self.model = content_hash([sha256_file(path) for path in weights])
        self.task = cache(
            lambda seed: DrawnTask(seed, sizes.count, sizes.held, sizes.epochs, sizes.impressions)
        )

    def parts(self) -> Mapping[str, Callable[[int], Rows]]:
        """Of each part its rows, of a seed."""
        sizes, faces = self.sizes, self.faces
        made: dict[str, Callable[[int], Rows]] = {
            "searches": lambda seed: edit_rows(self.task(seed)),
            "few": lambda seed: edit_rows(
                DrawnTask(100 + seed, sizes.few, sizes.held, sizes.epochs, sizes.impressions)
            ),
            "fronts": lambda seed: front_rows(self.task(seed)),
            "predictors": lambda seed: predictor_rows(seed, sizes.pool),
            "speed": lambda seed: speed_rows(self.task(seed), sizes.repeats),
            "guards": lambda _: guard_rows(),
            "files": lambda seed: signed_rows(sizes.signed, seed),
            "protected": lambda seed: protected_rows(sizes.protected, seed),
        }
        if faces is not None:
            made["latents"] = lambda seed: latent_rows(seed, sizes.pool, faces)
            made["faces"] = lambda seed: face_rows(self.task(seed), faces, sizes.faced)
        return made

    def cell(self, part: str, seed: int) -> Cell:
        """With what it depends on."""
        sizes = asdict(self.sizes)
        settings = {name: sizes[name] for name in _USES.get(part, ())}
        model = self.model if part in _FACED else ""
        drawn = [_drawn()] if part in _DRAWN else []
        return Cell(part, seed, content_hash([settings, model, *drawn]), self.folder)

    def run(self, parts: Sequence[str], *, seeds: Sequence[int], minutes: float) -> None:
        """What is missing of these parts, in order."""
        end = time.monotonic() + 60 * minutes if minutes else float("inf")
        for part, rows_of_seed in self.parts().items():
            for seed in seeds if part in _SEEDED else seeds[:1]:
                cell = self.cell(part, seed)
                if part not in parts or cell.path.exists() or time.monotonic() > end:
                    continue
                start = time.process_time()
                rows = rows_of_seed(seed)
                cell.keep(rows)
                spent = time.process_time() - start
                print(f"{part} {seed}: {len(rows)} rows, {spent:.1f} CPU-s", flush=True)

    def write(self, seeds: Sequence[int], folder: Path) -> None:
        """The result of the parts of which every cell is there."""
        found: dict[str, dict[int, Rows]] = {}
        for part in self.parts():
            own = seeds if part in _SEEDED else seeds[:1]
            rows = {seed: self.cell(part, seed).read() for seed in own}
            if all(one is not None for one in rows.values()):
                found[part] = {seed: one for seed, one in rows.items() if one is not None}
        sizes = self.sizes
        protocol = _PROTOCOL.format(
            impressions=sizes.impressions,
            count=sizes.count,
            few=sizes.few,
            held=sizes.held,
            calls=CALLS,
        )
        if "faces" in found:
            protocol += _FACES_SAID.format(faced=sizes.faced)
        else:
            protocol += " Parts with faces wait for the trained generator."
        write_result(
            "editor",
            protocol=protocol,
            data=content_hash([one.printed() for one in RULES.values()]),
            seeds=seeds,
            rows=rows_of(found),
            figures=figures_of(found),
            leads=leads_of(found),
            folder=folder,
        )


@cache
def _drawn() -> str:
    """Hash of how portraits are drawn."""
    return sha256_bytes(draw_portraits(8, seed=0).pictures.tobytes())


def _faces() -> Path | None:
    """The trained generator of drawn portraits with its encoder, where there is one."""
    for place in (DRAWN, cache_folder() / "bench" / "faces"):
        if (place / "faces").is_dir() and (place / "encoder").is_dir():
            return place
    return None


if __name__ == "__main__":
    main()
