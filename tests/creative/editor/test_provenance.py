from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError, DataError, FileUnreadableError
from adwright.creative.editor.edit_kinds import Contrast, Crop, Exposure, FaceMove
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.provenance import (
    ESTIMATE,
    LABEL,
    EditStatement,
    SigningKey,
    labelled,
    made_test_key,
    overlap,
    picture_hash,
    read_credentials,
    read_signing_key,
    tagged,
    with_credentials,
)
from benchmarks.creative.editing.files import digital_source_type
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


CORNERS = st.tuples(*(st.integers(-20, 40),) * 4)


def test_a_picture_is_named_by_its_pixels_and_its_size() -> None:
    picture = scene()
    name = picture_hash(picture)
    assert len(name) == 64
    assert picture_hash(np.asfortranarray(picture)) == name
    other = picture.copy()
    other[0, 0, 0] ^= 1
    assert picture_hash(other) != name
    assert picture_hash(picture.reshape(320, 240, 3)) != name
    with pytest.raises(DataError, match="picture"):
        picture_hash(picture.astype(float))


@given(one=CORNERS, other=CORNERS)
def test_overlap_is_that_of_the_pixels(
    one: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> None:
    drawn = np.zeros((2, 70, 70), bool)
    for layer, (left, top, right, bottom) in zip(drawn, (one, other), strict=True):
        layer[top + 20 : bottom + 20, left + 20 : right + 20] = True
    both, either = drawn.all(0).sum(), drawn.any(0).sum()
    assert overlap(one, other) == pytest.approx(both / either if either else 0)
    assert overlap(one, other) == overlap(other, one)


def test_it_stands_in_a_free_corner() -> None:
    picture = scene()
    plain = labelled(picture)
    rows, columns = np.nonzero((plain != picture).any(-1))
    assert rows.min() > 210
    assert columns.min() > 160
    beside = labelled(picture, scene_context())
    rows, columns = np.nonzero((beside != picture).any(-1))
    mask = scene_context().protected
    assert mask is not None
    assert not mask[rows, columns].any()
    assert LABEL == "Edited with AI"
    assert "not a measured effect" in ESTIMATE


def written(folder: Path, key: SigningKey, mode: int = 0o600) -> tuple[Path, Path]:
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(key.chain)
    private.write_bytes(key.private)
    private.chmod(mode)
    return chain, private


def test_a_key_is_read_from_its_files(tmp_path: Path) -> None:
    key = made_test_key(SystemClock())
    assert read_signing_key(*written(tmp_path, key)) == key
    assert key.chain.count(b"BEGIN CERTIFICATE") == 2


def test_the_private_key_is_never_shown(tmp_path: Path) -> None:
    key = made_test_key(FixedClock())
    secret = key.private.decode().splitlines()[1]
    assert secret not in repr(key)
    with pytest.raises(ConfigError) as caught:
        SigningKey(key.private, key.private)
    assert secret not in str(caught.value)


def test_a_certificate_is_valid_by_the_clock_that_was_given() -> None:
    from cryptography.x509 import load_pem_x509_certificate

    made = load_pem_x509_certificate(made_test_key(FixedClock()).chain)
    assert made.not_valid_before_utc < FixedClock().now() < made.not_valid_after_utc
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 31


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    key = made_test_key(SystemClock())
    chain, private = written(tmp_path, key, 0o640)
    with pytest.raises(ConfigError, match="others may read the private key"):
        read_signing_key(chain, private)
    private.chmod(0o600)
    with pytest.raises(ConfigError, match="chain is not in PEM"):
        read_signing_key(private, private)
    with pytest.raises(ConfigError, match="private is not in PEM"):
        SigningKey(key.chain, b"secret")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_signing_key(tmp_path / "none.pem", private)
    with pytest.raises(ConfigError, match="algorithm"):
        SigningKey(key.chain, key.private, "rot13")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "source", ["compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced"]
)
def test_the_tag_is_found_in_every_format(form: str, source: str) -> None:
    data = tagged(scene(), form, source)  # type: ignore[arg-type]
    assert digital_source_type(data) == source
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == form
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels - scene()).max() <= (0 if form != "JPEG" else 40)


def test_no_format_and_no_picture() -> None:
    with pytest.raises(ConfigError, match="format"):
        tagged(scene(), "TIFF")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="picture"):
        tagged(np.zeros((3, 3), np.uint8))
