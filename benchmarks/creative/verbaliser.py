"""What looking at an ad costs, part by part, and whether what was drawn comes back (minutes).

    python -m benchmarks.creative.verbaliser

Pictures: ads that are drawn, and the photographs of scikit-image, all of 1,080 pixels. Video: six
scenes of drawn ads and of photographs over which the camera pans, 1,920 x 1,080 in H.264.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from adwright.core.hashing import content_hash, sha256_bytes
from adwright.creative.records.describe import Describer, watch
from adwright.creative.records.looking import Absent, SeeingParts, bits_a_pixel, lab_of, lean
from adwright.creative.records.media import (
    PARTS,
    SeeingSettings,
    bounded,
    opened_media,
    opened_video,
    picture,
)
from benchmarks.common.result import write_result
from tests.support.creative.drawn_ads import Shot, drawn, film, photograph, portrait, saved

NAME = "verbaliser"
SIDE = 1080
SIZE = (1920, 1080)
#: Of each timing the fastest counts, as others may use the machine.
TIMES = 2
#: So many pictures are looked at once more, out of the cache.
CACHED = 6
SECONDS_A_SCENE = 3
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
)
#: Of these, only what complexity and tone are taken from.
OTHERS = ("color.png", "gravel.png", "ihc.png", "moon.png", "text.png")
#: Of the photographs, what may be said of them; anything else that is said is wrong.
TRUE_TAGS = {
    "camera.png": {"tripod"},
    "chelsea.png": {"Egyptian cat", "tabby", "tiger cat", "cat"},
    "coffee.png": {"espresso", "cup", "coffee mug"},
    "motorcycle_left.png": {"moped", "motor scooter", "motorcycle"},
    "rocket.jpg": {"missile", "projectile"},
}
#: Faces to be seen in them: one, and a man from the side.
TRUE_FACES = {"astronaut.png": 1, "camera.png": 1}
LINES = (
    "Fresh bread",
    "Two for $3",
    "Baked at six",
    "Last days",
    "New: oat rolls",
    "Free delivery",
)
GROUNDS = ("ivory", "darkblue", "white", "black", "yellow", "darkgreen")
BOXES = ("red", "orange", "darkblue", "gold", "purple", "white")
#: As seeing.toml names them.
NAMED = {"ivory": "off white", "darkblue": "dark blue", "darkgreen": "dark green"}
PROTOCOL = (
    "CPU milliseconds of one thread. A picture has 1,080 pixels on its longer side, PNG where it "
    "is drawn and JPEG where it is a photograph of scikit-image; the median over pictures of the "
    f"fastest of {TIMES} looks at each, models loaded before; decode: file to pixels; cached: all "
    f"of it again, out of the cache, of {CACHED} pictures. load: imports and models of a part, "
    f"once a process. The video is drawn: six scenes of {SECONDS_A_SCENE} s at 20 frames a second, "
    "1,920 x 1,080, H.264; scenes: decoding, cuts and motion; the parts look at one picture a "
    "scene. Right: what was drawn comes back exactly. bits: of complexity, a pixel; lean: of tone; "
    "of some photographs these alone. No real ad is among them."
)


def main() -> None:
    """Measure, and write the result."""
    loads, parts = loaded()
    files = {**drawn_files(), **photograph_files()}
    rows = [measured(name, data, parts) for name, data in files.items()]
    for row, data in list(zip(rows, files.values(), strict=True))[:CACHED]:
        row["cached_ms"] = from_cache(data)
    video, video_rows = of_video(parts)
    others = [about(name, photograph(name)) for name in OTHERS]
    figures: dict[str, Any] = {f"load_{part}_cpu_ms": ms for part, ms in loads.items()}
    for key in ("decode", *PARTS, "all", "cached"):
        figures[f"image_{key}_cpu_ms"] = float(
            np.median([row[f"{key}_ms"] for row in rows if f"{key}_ms" in row])
        )
    figures |= video | rightness(rows)
    write_result(
        NAME,
        protocol=PROTOCOL,
        data=content_hash({name: sha256_bytes(data) for name, data in files.items()}),
        seeds=[0],
        rows=[*rows, *others, *video_rows],
        figures=figures,
    )


def cpu_ms(what: Callable[[], Any]) -> tuple[float, Any]:
    """CPU milliseconds, and what came out."""
    began = time.process_time()
    made = what()
    return 1000 * (time.process_time() - began), made


def fastest(what: Callable[[], Any]) -> tuple[float, Any]:
    """The same, of the fastest of TIMES."""
    tried = [cpu_ms(what) for _ in range(TIMES)]
    return min(ms for ms, _ in tried), tried[-1][1]


def loaded() -> tuple[dict[str, float], SeeingParts]:
    """What it takes to load each part and look for the first time, and the parts."""
    parts, small = (
        SeeingParts(SeeingSettings()),
        drawn(Shot("white", "red", "Fresh bread"), (64, 64)),
    )
    loads: dict[str, float] = {}
    for part in PARTS:
        ms, found = cpu_ms(partial(parts.look, part, [small]))
        if isinstance(found, Absent):
            raise SystemExit(found.why)
        loads[part] = ms
    return loads, parts


def drawn_files() -> dict[str, bytes]:
    """Ads of one line of text with a box, and with one to three faces, by name."""
    made: dict[str, bytes] = {}
    for at, line in enumerate(LINES):
        shot = Shot(GROUNDS[at], BOXES[at], line)
        made[f"drawn box {at}"] = saved(drawn(shot, (SIDE, SIDE)))
    for count in (1, 2, 3):
        page = drawn(Shot("ivory", words=LINES[count]), (SIDE, SIDE))
        for at in range(count):
            page.paste(portrait(240 + 40 * at), (40 + 350 * at, 420 + 60 * at))
        made[f"drawn faces {count}"] = saved(page)
    return made


def photograph_files() -> dict[str, bytes]:
    """The photographs, by name."""
    made: dict[str, bytes] = {}
    for name in PHOTOGRAPHS:
        photo = photograph(name)
        scale = SIDE / max(photo.size)
        size = round(photo.width * scale), round(photo.height * scale)
        made[name] = saved(photo.resize(size), "JPEG", quality=92)
    return made


def opened(data: bytes) -> Image.Image:
    """The pixels of a file."""
    with opened_media(data) as media:
        return picture(media)


def about(name: str, image: Image.Image) -> dict[str, Any]:
    """What complexity and tone are taken from."""
    return {
        "file": name,
        "bits": bits_a_pixel(image),
        "lean": lean(lab_of(np.asarray(bounded(image, 96)))),
    }


def measured(name: str, data: bytes, parts: SeeingParts) -> dict[str, Any]:
    """A row: what a picture costs, and what was seen."""
    decode, image = fastest(partial(opened, data))
    row = about(name, image) | {"decode_ms": decode}
    found: dict[str, Any] = {}
    for part in PARTS:
        row[f"{part}_ms"], found[part] = fastest(partial(parts.look, part, [image]))
    row["all_ms"] = row["decode_ms"] + sum(row[f"{part}_ms"] for part in PARTS)
    colours = found.pop("colours")
    return row | {**colours, "said": found["words"], "faces": found["faces"], "tags": found["tags"]}


def from_cache(data: bytes) -> float:
    """CPU milliseconds of a second look."""
    with tempfile.TemporaryDirectory() as folder:
        describer = Describer(cache=folder)
        describer.describe(data)
        return fastest(partial(describer.describe, data))[0]


def of_video(parts: SeeingParts) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Figures of the video, and a row of it."""
    frames = 20 * SECONDS_A_SCENE
    photos = [photograph(name).resize((900, 600)) for name in ("coffee.png", "chelsea.png")]
    shots = [
        Shot("ivory", words=LINES[0], frames=frames),
        Shot("darkblue", pasted=photos[0], frames=frames),
        Shot("white", "red", moves=6, frames=frames),
        Shot("black", pasted=photos[1], frames=frames),
        Shot("darkgreen", "gold", LINES[1], moves=6, frames=frames),
        Shot("yellow", pasted=portrait(420), frames=frames),
    ]
    data = film(shots, SIZE, codec="libx264")
    seconds = SECONDS_A_SCENE * len(shots)
    settings = SeeingSettings()

    def watched() -> Any:
        with opened_media(data) as media, opened_video(media, settings) as clip:
            return watch(clip, settings, lambda images: images)

    passed, seen = fastest(watched)
    row: dict[str, Any] = {"file": "video", "seconds": seconds, "scenes_ms": passed}
    for part in PARTS:
        times = [cpu_ms(partial(parts.look, part, scene.seen))[0] for scene in seen.scenes]
        row[f"{part}_ms"] = sum(times)
    row["all_ms"] = passed + sum(row[f"{part}_ms"] for part in PARTS)
    with tempfile.TemporaryDirectory() as folder:
        describer = Describer(cache=folder)
        record = describer.describe(data)
        row["cached_ms"], _ = fastest(partial(describer.describe, data))
    starts = [scene.start or 0.0 for scene in record.scenes]
    wanted = [SECONDS_A_SCENE * at for at in range(len(shots))]
    right = len(starts) == len(wanted) and np.allclose(starts, wanted, atol=0.051)
    figures = {
        f"video_{key}_cpu_ms_a_second": row[f"{key}_ms"] / seconds
        for key in ("scenes", *PARTS, "all", "cached")
    }
    return {**figures, "cuts_right": float(right)}, [row | {"starts": starts}]


def rightness(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Shares of what was drawn that comes back, and of what is said of photographs that is true."""
    boxes = [row for row in rows if row["file"].startswith("drawn box")]
    crowds = [row for row in rows if row["file"].startswith("drawn faces")]
    photos = [row for row in rows if not row["file"].startswith("drawn")]
    texts = [*zip(boxes, LINES, strict=True), *zip(crowds, LINES[1:4], strict=True)]
    faces = [(row["faces"], int(row["file"][-1])) for row in crowds]
    faces += [(row["faces"], TRUE_FACES.get(row["file"], 0)) for row in (*boxes, *photos)]
    coloured = [
        NAMED.get(ground, ground) in row["background"] and NAMED.get(box, box) in row["foreground"]
        for row, ground, box in zip(boxes, GROUNDS, BOXES, strict=True)
    ]
    said = [(tag, TRUE_TAGS.get(row["file"], set())) for row in rows for tag in row["tags"]]
    return {
        "words_right": float(np.mean([row["said"] == [line] for row, line in texts])),
        "faces_right": float(np.mean([found == true for found, true in faces])),
        "colours_right": float(np.mean(coloured)),
        "tags_said": len(said),
        "tags_true": float(np.mean([tag in true for tag, true in said])) if said else 0.0,
    }


if __name__ == "__main__":
    main()
