from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import ArtifactUnsafeError, ConfigError, DataError, FileUnreadableError
from adwright.creative.faces.e4e_file import (
    E4E_MARKER,
    E4E_SIDE,
    ROSINALITY_MARKER,
    Named,
    config_of,
    e4e_encoder,
    load_e4e,
    prefix_before,
    read_checkpoint,
    require_filter,
    require_square,
    rosinality_generator,
)
from adwright.creative.faces.opened import OpenedFaces
from benchmarks.creative._face_layouts import (
    e4e_offsets,
    random_e4e,
    random_rosinality,
    rosinality_latents,
    rosinality_pictures,
)


def test_both_formats_are_read(tmp_path: Path) -> None:
    weight = torch.randn(2, 3)
    save_file({"g.a": weight}, tmp_path / "one.safetensors")
    torch.save({"g": {"a": weight, "step": 3}, "args": {"lr": 0.1}}, tmp_path / "one.pt")
    for name in ("one.safetensors", "one.pt"):
        found = read_checkpoint(tmp_path / name)
        assert list(found.tensors) == ["g.a"]
        assert torch.equal(found.below("g.").get("a", 2, 3), weight)
        assert found.file.endswith(name)


def test_what_could_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=1), "a": torch.zeros(1)}, tmp_path / "one.pt")
    with pytest.raises(ArtifactUnsafeError, match="more than tensors"):
        read_checkpoint(tmp_path / "one.pt")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint at all")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff\0\0\0\0\0\0\0{")
    torch.save({"step": 3}, tmp_path / "none.pt")
    for name in ("missing.pt", "empty.pt", "cut.safetensors"):
        with pytest.raises(FileUnreadableError, match="cannot be read"):
            read_checkpoint(tmp_path / name)
    with pytest.raises((FileUnreadableError, ArtifactUnsafeError)):
        read_checkpoint(tmp_path / "text.pt")
    with pytest.raises(DataError, match="no tensor"):
        read_checkpoint(tmp_path / "none.pt")


def test_tensors_are_asked_for_by_name_and_shape() -> None:
    found = Named({"a.0.w": torch.zeros(1, 2, 3), "a.1.w": torch.ones(1)}, "some.pt")
    assert "a.0.w" in found
    assert found.count("a.{}.w") == 2
    assert found.count("a.{}.w", 1) == 1
    assert found.get("a.0.w", 2, 3).shape == (2, 3)
    assert found.get("a.1.w").shape == ()
    assert found.shape("a.0.w", 3) == (1, 2, 3)
    for wrong in (lambda: found.get("b"), lambda: found.shape("b", 1)):
        with pytest.raises(DataError, match=r"lacks a tensor \[some.pt, column b\]"):
            wrong()
    with pytest.raises(DataError, match="it should have 7"):
        found.get("a.0.w", 7)
    with pytest.raises(DataError, match="2 axes"):
        found.shape("a.0.w", 2)


def test_the_running_mean_is_preferred() -> None:
    names = iter(["g.conv1.w", "d.conv1.w", "g_ema.conv1.w", "to.xconv1.w"])
    assert prefix_before(names, "conv1.w") == "g_ema."
    assert prefix_before({"conv1.w": torch.zeros(1)}, "conv1.w") == ""
    assert prefix_before({"xconv1.w": torch.zeros(1)}, "conv1.w") is None


def test_the_rule_of_the_channels_is_found() -> None:
    ffhq = {side: min(32768 // side, 512) for side in (4, 8, 16, 32, 64, 128, 256, 512, 1024)}
    config = config_of(ffhq, 512, 8)
    assert (config.side, config.base, config.most, config.rows) == (1024, 32768, 512, 18)
    half = config_of({side: min(16384 // side, 512) for side in (4, 8, 16, 32, 64, 128)}, 512, 8)
    assert (half.base, half.most) == (16384, 512)
    flat = config_of({4: 16, 8: 16, 16: 16}, 8, 2)
    assert (flat.base, flat.most, flat.wide, flat.layers) == (256, 16, 8, 2)
    with pytest.raises(ConfigError, match="channels"):
        config_of({4: 16, 8: 7, 16: 8}, 8, 2)


def test_mappings_and_filters_of_another_form() -> None:
    require_square(8, 8, "fc")
    with pytest.raises(ConfigError, match="8 numbers of 9"):
        require_square(8, 9, "fc")
    taps = (1.0, 3.0, 3.0, 1.0)
    for gain in (1.0, 4.0):
        require_filter([[a * b * gain for b in taps] for a in taps], "kernel")
    for wrong in ([[1.0] * 4] * 4, [[1.0, 2.0, 1.0]] * 3, [[1.0, 3.0, 3.0, 1.0]] * 3):
        with pytest.raises(ConfigError, match="filtered"):
            require_filter(wrong, "kernel")


@torch.no_grad()
def test_pictures_are_those_of_the_layout() -> None:
    state = random_rosinality(32, 8, 3)
    assert ROSINALITY_MARKER in state
    generator = rosinality_generator(Named(state), torch.arange(8.0))
    config = generator.config
    assert (config.side, config.wide, config.layers, config.rows) == (32, 8, 3, 8)
    torch.manual_seed(0)
    z, plus = torch.randn(3, 8), torch.randn(3, 8, 8)
    torch.testing.assert_close(
        generator.latents(z), rosinality_latents(state, z), atol=1e-5, rtol=1e-5
    )
    literal = rosinality_pictures(state, plus)
    torch.testing.assert_close(generator.pictures(plus), literal, atol=1e-4, rtol=0)
    assert torch.equal(generator.mean, torch.arange(8.0))
    # A wrong flip or a wrong row would show.
    turned = dict(state)
    turned["convs.0.conv.weight"] = state["convs.0.conv.weight"].flip(3, 4)
    assert (rosinality_pictures(turned, plus) - literal).abs().max() > 0.1
    moved = plus.clone()
    moved[:, 3] += 1
    assert (rosinality_pictures(state, moved) - literal).abs().max() > 0.1


def test_what_a_file_may_leave_out() -> None:
    state = random_rosinality(16, 8, 2)
    for name in [one for one in state if one.startswith("noises.")]:
        del state[name]
    generator = rosinality_generator(Named(state))
    assert not generator.convs[1].noise.fixed.any()
    w = rosinality_latents(state, torch.randn(4000, 8))
    torch.testing.assert_close(generator.mean, w.mean(0), atol=0.1, rtol=0)
    rows = torch.arange(12.0).view(6, 2).repeat(1, 4)
    assert torch.equal(rosinality_generator(Named(state), rows).mean, rows.mean(0))


def test_generators_of_another_form() -> None:
    state = random_rosinality(16, 8, 2)
    lacking = {name: value for name, value in state.items() if name != "to_rgb1.bias"}
    with pytest.raises(DataError, match=r"lacks a tensor.*to_rgb1.bias"):
        rosinality_generator(Named(lacking, "file.pt"))
    with pytest.raises(DataError, match="5 axes"):
        rosinality_generator(Named({**state, "conv1.conv.weight": torch.zeros(3, 3)}))
    with pytest.raises(DataError, match="16 x 16"):
        rosinality_generator(Named({**state, "noises.noise_3": torch.zeros(1, 1, 8, 8)}))
    with pytest.raises(ConfigError, match="mapping makes 8 numbers of 9"):
        rosinality_generator(Named({**state, "style.1.weight": torch.zeros(8, 9)}))
    other = {**state, "convs.0.conv.blur.kernel": torch.ones(4, 4)}
    with pytest.raises(ConfigError, match=r"\[1, 3, 3, 1\]"):
        rosinality_generator(Named(other))


@torch.no_grad()
def test_rows_are_those_of_the_layout() -> None:
    state = random_e4e(4, 8, (2, 3, 4))
    assert E4E_MARKER in state
    encoder = e4e_encoder(Named(state))
    torch.manual_seed(0)
    pictures = torch.randn(2, 3, 64, 64)
    found, literal = encoder(pictures), e4e_offsets(state, pictures)
    assert found.shape == (2, 8, 32)
    torch.testing.assert_close(found, literal, atol=1e-4, rtol=1e-4)
    assert (literal[:, 1:] - literal[:, :1]).abs().amax((0, 2)).min() > 0.1
    assert E4E_SIDE == 256


def test_an_encoder_of_another_form() -> None:
    state = random_e4e(4, 8, (2, 3, 4))
    for name in ("input_layer.0.weight", "body.23.res_layer.5.fc1.weight"):
        with pytest.raises(DataError, match="lacks a tensor"):
            e4e_encoder(Named({n: v for n, v in state.items() if n != name}))
    with pytest.raises(DataError, match="another than"):
        e4e_encoder(Named({n: v for n, v in state.items() if n != "latlayer2.bias"}))


def named(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


def test_nothing_is_read_before_its_terms_are_accepted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"non-commercial.*--accept-noncommercial"):
        load_e4e(tmp_path / "there-is-no-such-file.pt")


@torch.no_grad()
def test_e4e_with_its_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adwright.creative.faces.e4e_file.E4E_SIDE", 64)
    encoder, decoder = random_e4e(1, 6, (2, 3, 4)), random_rosinality(16, 8, 2)
    average = torch.randn(6, 8)
    state = {**named(encoder, "encoder."), **named(decoder, "decoder.")}
    torch.save(
        {"state_dict": state, "latent_avg": average, "opts": {"device": "cuda"}},
        tmp_path / "e4e.pt",
    )
    faces, model = load_e4e(tmp_path / "e4e.pt", accept_noncommercial=True)
    assert "terms" in faces.about
    pictures = torch.randn(3, 3, 64, 64)
    found = model.invert(faces, pictures)
    torch.testing.assert_close(
        found, average + e4e_offsets(encoder, pictures), atol=1e-4, rtol=1e-4
    )
    literal = rosinality_pictures(decoder, found)
    torch.testing.assert_close(faces.generator.pictures(found), literal, atol=1e-3, rtol=1e-4)
    assert model.invert(faces, torch.randn(1, 3, 20, 30)).shape == (1, 6, 8)
    large = {**named(random_e4e(1, 6, (4, 5, 6)), "encoder."), **named(decoder, "decoder.")}
    torch.save({"state_dict": large}, tmp_path / "large.pt")
    directions = tmp_path / "directions.toml"
    directions.write_text('[[allowed]]\nname = "smile"\ngroup = "expression"\nsefa = 0\n')
    with pytest.raises(ConfigError, match="non-commercial"):
        OpenedFaces.load(tmp_path / "large.pt", directions)
    opened = OpenedFaces.load(tmp_path / "large.pt", directions, accept_noncommercial=True)
    crops = np.full((1, 16, 16, 3), 90, np.uint8)
    assert opened.plus(crops).shape == (1, 6, 8)
    assert not np.array_equal(opened.mover.moved(crops, np.array([[2.0]])), crops)
    torch.save({"state_dict": named(decoder, "decoder.")}, tmp_path / "half.pt")
    with pytest.raises(DataError, match="no encoder of e4e"):
        load_e4e(tmp_path / "half.pt", accept_noncommercial=True)
    more = {**named(random_e4e(1, 8, (2, 3, 4)), "encoder."), **named(decoder, "decoder.")}
    torch.save({"state_dict": more}, tmp_path / "rows.pt")
    with pytest.raises(DataError, match="8 rows, the decoder reads 6"):
        load_e4e(tmp_path / "rows.pt", accept_noncommercial=True)
