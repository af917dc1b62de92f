from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.framing import Crop
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Contrast, Exposure
from adwright.creative.editor.provenance.content_credentials import (
    EditStatement,
    read_credentials,
    with_credentials,
)
from adwright.creative.editor.provenance.signing_keys import SigningKey, made_test_key
from adwright.creative.editor.provenance.source_type import digital_source_type, tagged
from tests.support.creative.edited_pictures import scene, scene_context

PLAN = EditPlan((Exposure(0.3), Contrast(), FaceMove(("smile",), ((0.5,),)), Crop(keep=0.9)))
STATEMENT = EditStatement(PLAN, "Spring ad", "faces-1", "Ada", "a" * 64)
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return made_test_key(SystemClock())


def edited() -> np.ndarray:
    return PLAN.apply(scene(), scene_context()).picture


@pytest.fixture(scope="module", params=["PNG", "JPEG", "WEBP"])
def signed(request: pytest.FixtureRequest, key: SigningKey) -> bytes:
    return with_credentials(tagged(scene()), tagged(edited(), request.param), STATEMENT, key)


def test_the_librarys_own_reader_finds_it_whole(signed: bytes) -> None:
    told = read_credentials(signed)
    assert (told.state, told.whole) == ("valid", True)
    assert told.issuer == "adwright test"
    wanted = ("c2pa.opened", "c2pa.color_adjustments", "c2pa.edited", "c2pa.cropped")
    assert told.actions == wanted
    assert told.source_types == ("algorithmicallyEnhanced", COMPOSITE, "algorithmicallyEnhanced")
    assert told.problems == ("signingCredential.untrusted",)
    assert told.details["approver"] == "Ada"
    assert told.details["log_head"] == "a" * 64
    assert told.details["plan_digest"] == PLAN.digest
    assert digital_source_type(signed) == COMPOSITE


def test_nothing_of_the_original_is_kept(signed: bytes) -> None:
    assert len(signed) < len(tagged(edited())) + 25_000
    assert b"thumbnail" not in signed


def with_another_pixel(data: bytes) -> bytes:
    """The same PNG, statement and all, with one pixel otherwise and every checksum right."""
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    pixels = bytearray(zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")))
    # A few bytes into a row, whose first one is its filter.
    pixels[len(pixels) // 2 + 7] ^= 8
    first = next(at for at, (kind, _) in enumerate(chunks) if kind == b"IDAT")
    kept = [one for one in chunks if one[0] != b"IDAT"]
    kept.insert(first, (b"IDAT", zlib.compress(bytes(pixels))))
    made = data[:8]
    for kind, body in kept:
        check = struct.pack(">I", zlib.crc32(kind + body))
        made += struct.pack(">I", len(body)) + kind + body + check
    return made


def test_a_pixel_that_is_changed_after_signing_is_found(key: SigningKey) -> None:
    data = with_credentials(tagged(scene()), tagged(edited()), STATEMENT, key)
    changed = with_another_pixel(data)
    one, other = (
        np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in (data, changed)
    )
    assert (one != other).any()
    told = read_credentials(changed)
    assert (told.state, told.whole) == ("invalid", False)
    assert "assertion.dataHash.mismatch" in told.problems


def test_a_statement_that_is_changed_is_found(signed: bytes) -> None:
    assert read_credentials(signed.replace(b"Spring ad", b"Autumn ad")).state == "invalid"


def test_a_statement_that_is_cut_out_is_none(signed: bytes) -> None:
    with Image.open(io.BytesIO(signed)) as image:
        stripped = tagged(np.asarray(image.convert("RGB")))
    told = read_credentials(stripped)
    assert (told.state, told.actions, told.whole) == ("none", (), False)


def test_an_edit_of_an_edit_names_both(key: SigningKey) -> None:
    first = with_credentials(tagged(scene()), tagged(edited()), STATEMENT, key)
    again = EditPlan((Exposure(-0.2),))
    twice = again.apply(edited()).picture
    second = with_credentials(first, tagged(twice), EditStatement(again), key)
    told = read_credentials(second)
    assert told.whole
    assert told.actions == ("c2pa.opened", "c2pa.color_adjustments")
    assert second.count(b"c2pa.actions.v2") > first.count(b"c2pa.actions.v2")


def test_a_key_that_cannot_sign_is_refused_without_being_shown(key: SigningKey) -> None:
    other = made_test_key(SystemClock())
    long_ago = made_test_key(FixedClock())
    for wrong in (
        SigningKey(key.chain, other.private),
        SigningKey(key.chain, key.private, "ps256"),
        SigningKey(key.chain, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        long_ago,
    ):
        with pytest.raises(ConfigError, match="cannot be signed") as caught:
            with_credentials(tagged(scene()), tagged(scene()), STATEMENT, wrong)
        assert "PRIVATE" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_what_is_no_picture_is_refused(key: SigningKey) -> None:
    with pytest.raises(FileUnreadableError, match="original"):
        with_credentials(b"no picture", tagged(scene()), STATEMENT, key)
    with pytest.raises(FileUnreadableError, match="picture"):
        read_credentials(b"")
    assert read_credentials(tagged(scene())[:400]).state in ("none", "invalid")
