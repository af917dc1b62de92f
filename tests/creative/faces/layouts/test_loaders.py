from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.layouts.loaders import load_e4e, load_faces
from benchmarks.creative._face_layouts import (
    e4e_offsets,
    nvidia_pictures,
    random_e4e,
    random_nvidia,
    random_rosinality,
    rosinality_pictures,
)


def named(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in state.items()}


@torch.no_grad()
def test_each_layout_is_known_by_its_names(tmp_path: Path) -> None:
    rosinality, nvidia = random_rosinality(16, 8, 2), random_nvidia(16, 8, 2)
    torch.save(
        {
            "g": random_rosinality(16, 8, 2, seed=1),
            "g_ema": rosinality,
            "latent_avg": torch.ones(8),
        },
        tmp_path / "rosinality.pt",
    )
    save_file(named(nvidia, "G_ema."), tmp_path / "nvidia.safetensors")
    plus = torch.randn(2, 6, 8)
    one = load_faces(tmp_path / "rosinality.pt", accept_noncommercial=True)
    literal = rosinality_pictures(rosinality, plus)
    torch.testing.assert_close(one.generator.pictures(plus), literal, atol=1e-4, rtol=0)
    assert torch.equal(one.generator.mean, torch.ones(8))
    two = load_faces(tmp_path / "nvidia.safetensors", accept_noncommercial=True)
    literal = nvidia_pictures(nvidia, plus)
    torch.testing.assert_close(two.generator.pictures(plus), literal, atol=1e-4, rtol=0)
    assert two.sample(2, seed=0).shape == (2, 3, 16, 16)
    assert (one.config["layout"], two.config["layout"]) == ("rosinality", "nvidia")
    assert "terms" in one.about
    with pytest.raises(DataError, match="known layout"):
        load_faces(tmp_path / "nvidia.safetensors", layout="rosinality", accept_noncommercial=True)
    with pytest.raises(ConfigError, match="no layout"):
        load_faces(
            tmp_path / "nvidia.safetensors",
            layout="other",  # type: ignore[arg-type]
            accept_noncommercial=True,
        )


def test_nothing_is_read_before_its_terms_are_accepted(tmp_path: Path) -> None:
    for load in (load_faces, load_e4e):
        with pytest.raises(ConfigError, match=r"non-commercial.*accept_noncommercial=True"):
            load(tmp_path / "there-is-no-such-file.pt")


@torch.no_grad()
def test_e4e_with_its_decoder(tmp_path: Path) -> None:
    encoder, decoder = random_e4e(1, 6, (2, 3, 4)), random_rosinality(16, 8, 2)
    average = torch.randn(6, 8)
    state = {**named(encoder, "encoder."), **named(decoder, "decoder.")}
    torch.save(
        {"state_dict": state, "latent_avg": average, "opts": {"device": "cuda"}},
        tmp_path / "e4e.pt",
    )
    model = load_e4e(tmp_path / "e4e.pt", accept_noncommercial=True)
    pictures = torch.randn(3, 3, 64, 64)
    found = model.invert(pictures, side=64)
    torch.testing.assert_close(
        found, average + e4e_offsets(encoder, pictures), atol=1e-4, rtol=1e-4
    )
    literal = rosinality_pictures(decoder, found)
    torch.testing.assert_close(model.faces.generator.pictures(found), literal, atol=1e-3, rtol=1e-4)
    assert model.invert(torch.randn(1, 3, 20, 30), side=64).shape == (1, 6, 8)
    torch.save({"state_dict": named(decoder, "decoder.")}, tmp_path / "half.pt")
    with pytest.raises(DataError, match="no encoder of e4e"):
        load_e4e(tmp_path / "half.pt", accept_noncommercial=True)
    more = {**named(random_e4e(1, 8, (2, 3, 4)), "encoder."), **named(decoder, "decoder.")}
    torch.save({"state_dict": more}, tmp_path / "rows.pt")
    with pytest.raises(DataError, match="8 rows, the decoder reads 6"):
        load_e4e(tmp_path / "rows.pt", accept_noncommercial=True)
