"""Files that were edited: is the statement whole, is a changed pixel found, does the rest stay."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from adwright.core.clock import SystemClock
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    Contrast,
    Crop,
    EditContext,
    Exposure,
    ProtectedBox,
    Saturation,
    Temperature,
    protected_mask,
)
from adwright.creative.editor.edit_plan import EditPlan, TextOverlay
from adwright.creative.editor.guard import EditLog, FileEditor
from adwright.creative.editor.job_faces import plain_guard
from adwright.creative.editor.provenance import FileFormat, made_test_key, read_credentials, tagged
from benchmarks.creative.editing.cells import Rows

_FORMS: tuple[FileFormat, ...] = ("PNG", "JPEG", "WEBP")
EVERY = EditPlan(
    (
        Exposure(),
        Contrast(),
        Saturation(),
        Temperature(),
        BackgroundBlur(),
        Crop(),
        TextOverlay("Fresh today", opacity=0.5),
    )
)


#: As an attribute, or as an element; in single or double quotes.
_TAG = re.compile(
    r"Iptc4xmpExt:DigitalSourceType\s*(?:=\s*[\"']|>\s*)"
    r"http://cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{1,64})"
)


def digital_source_type(data: bytes) -> str:
    """The term that a file is tagged with in its XMP; empty where there is none."""
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or ""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    found = _TAG.search(text)
    return found.group(1) if found else ""


def signed_rows(count: int, seed: int) -> Rows:
    """A row a file: edited, signed, read back by C2PA's own reader, then with one pixel changed,
    and with one byte changed."""
    rng, clock = np.random.default_rng(seed), SystemClock()
    key, rows = made_test_key(clock), []
    with tempfile.TemporaryDirectory() as folder:
        log = EditLog(Path(folder) / "edits.jsonl", clock)
        editor = FileEditor(plain_guard(log), key, clock, "benchmark")
        for at in range(count):
            form = _FORMS[at % len(_FORMS)]
            source = io.BytesIO()
            Image.fromarray(_scene(rng)).save(source, "PNG")
            made = editor.edited(source.getvalue(), _plan(rng), form=form)
            data = made.data or b""
            told = read_credentials(data)
            rows.append(
                {
                    "form": form,
                    "valid": told.whole and told.details["log_head"] == made.seal,
                    "tagged": digital_source_type(data) == "algorithmicallyEnhanced",
                    "pixel_found": not read_credentials(_pixel_changed(data, form)).whole,
                    "byte_found": not read_credentials(_byte_changed(data, form)).whole,
                }
            )
        rows.append({"form": "log", "valid": log.check().whole, "entries": log.check().entries})
    return rows


def protected_rows(count: int, seed: int) -> Rows:
    """A row a plan of random values of all edits: whether every protected pixel is as it was, and
    whether any other changed."""
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for _ in range(count):
        picture = _scene(rng)
        boxes = [_box(rng, picture.shape) for _ in range(int(rng.integers(1, 4)))]
        mask = protected_mask(boxes, picture.shape)
        subject = np.zeros(mask.shape, np.float32)
        subject[40:80, 50:100] = 1
        done = _plan(rng).apply(picture, EditContext(mask, subject))
        left = done.context.protected
        kept = left is not None and np.array_equal(done.picture[left], picture[mask])
        rows.append({"untouched": kept, "changed": not np.array_equal(done.picture, picture)})
    return rows


def _scene(rng: np.random.Generator) -> np.ndarray:
    made = np.full((120, 160, 3), rng.integers(60, 200, 3), np.int64)
    for _ in range(5):
        left, top = int(rng.integers(0, 120)), int(rng.integers(0, 80))
        made[top : top + 40, left : left + 40] = rng.integers(0, 256, 3)
    noisy: np.ndarray = np.clip(made + rng.integers(-10, 11, made.shape), 0, 255)
    return noisy.astype(np.uint8)


def _plan(rng: np.random.Generator) -> EditPlan:
    low, high = EVERY.bounds().T
    return EVERY.with_values(rng.uniform(low, high))


def _box(rng: np.random.Generator, shape: tuple[int, ...]) -> ProtectedBox:
    left, top = int(rng.integers(0, shape[1] - 8)), int(rng.integers(0, shape[0] - 8))
    right = int(rng.integers(left + 2, min(shape[1], left + 50)))
    bottom = int(rng.integers(top + 2, min(shape[0], top + 30)))
    return ProtectedBox(left, top, right, bottom, "logo")


def _pixel_changed(data: bytes, form: FileFormat) -> bytes:
    """The file of the same picture but for one pixel, with the old statement put into it: what
    somebody does who wants to pass it off as signed."""
    with Image.open(io.BytesIO(data)) as image:
        picture = np.asarray(image.convert("RGB")).copy()
    picture[3, 5] ^= 64
    plain = tagged(picture, form, "algorithmicallyEnhanced")
    match form:
        case "PNG":
            begin = data.find(b"caBX") - 4
            size = int.from_bytes(data[begin : begin + 4], "big") + 12
            head = plain.find(b"IDAT") - 4
            return plain[:head] + data[begin : begin + size] + plain[head:]
        case "JPEG":
            return plain[:2] + _segments(data, 0xEB) + plain[2:]
    begin = data.find(b"C2PA")
    size = 8 + int.from_bytes(data[begin + 4 : begin + 8], "little")
    made = plain + data[begin : begin + size + size % 2]
    return made[:4] + (len(made) - 8).to_bytes(4, "little") + made[8:]


def _segments(data: bytes, kind: int) -> bytes:
    """All segments of a JPEG file that have this marker."""
    at, found = 2, b""
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        size = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found += data[at : at + size] if data[at + 1] == kind else b""
        at += size
    return found


def _byte_changed(data: bytes, form: FileFormat) -> bytes:
    """With one byte in the middle of the picture's own data changed."""
    mark, end = {"PNG": (b"IDAT", b"IEND"), "JPEG": (b"\xff\xda", b""), "WEBP": (b"VP8L", b"C2PA")}[
        form
    ]
    first = data.find(mark)
    last = data.find(end, first) if end else len(data)
    at = (first + (last if last > first else len(data))) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
