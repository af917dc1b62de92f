"""Weights of others are read, directions found in them, and faces moved along these."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import (
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    DataError,
    FileUnreadableError,
)
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
from adwright.creative.faces.opened import (
    AllowedDirection,
    Directions,
    DirectionsFile,
    GeneratorMover,
    LockedDirection,
    OpenedFaces,
    named_directions,
    sefa,
)
from adwright.creative.faces.stylegan import Generator, GeneratorConfig, as_pictures
from benchmarks.creative._face_layouts import (
    e4e_offsets,
    nvidia_latents,
    nvidia_pictures,
    random_e4e,
    random_nvidia,
    random_rosinality,
    rosinality_latents,
    rosinality_pictures,
)
from benchmarks.creative.faces_training import portraits
from benchmarks.creative.faces_training.measures import (
    fit_reader,
    fitted_direction,
    kernel_distance,
    moved_attributes,
    random_directions,
)
from benchmarks.creative.faces_training.nvidia import NVIDIA_MARKER, nvidia_generator
from benchmarks.creative.faces_training.portraits import LABELS, draw_portraits, redrawn
from tests.support.models.small_faces import CONFIG, DIRECTIONS, small_faces


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


pytest.importorskip("dicebear", reason="the extra creative is not installed")
pytest.importorskip("resvg_py", reason="the extra creative is not installed")


@pytest.fixture(scope="module")
def drawn() -> portraits.DrawnPortraits:
    return draw_portraits(60, seed=0)


def picture(options: dict[str, object]) -> np.ndarray:
    return portraits.draw_one(options, 32)


def test_the_same_seed_draws_the_same(drawn: portraits.DrawnPortraits) -> None:
    assert len(drawn) == 60
    assert drawn.pictures.shape == (60, 32, 32, 3)
    fewer = draw_portraits(5, seed=0)
    assert np.array_equal(fewer.pictures, drawn.pictures[:5])
    assert not np.array_equal(draw_portraits(5, seed=1).pictures, fewer.pictures)
    assert draw_portraits(1, seed=0, side=64).pictures.shape == (1, 64, 64, 3)
    assert tuple(drawn.labels) == LABELS
    for name, values in drawn.labels.items():
        assert 0 <= values.min() < values.max() <= 1, name


@pytest.mark.parametrize(
    ("label", "values", "rows"),
    [
        ("smile", (False, True), (14, 27)),
        ("glasses", (False, True), (5, 21)),
        ("beard", (False, True), (7, 30)),
    ],
)
def test_one_change_moves_one_part(
    drawn: portraits.DrawnPortraits, label: str, values: tuple[bool, bool], rows: tuple[int, int]
) -> None:
    moved = 0
    for options in drawn.options[:8]:
        one, other = (picture(redrawn(options, label, value)) for value in values)
        where = np.flatnonzero((one != other).any((1, 2)))
        moved += len(where)
        assert not len(where) or rows[0] <= where.min() <= where.max() <= rows[1]
    assert moved


def test_the_distance_is_the_literal_sum() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 4)), rng.normal(0.5, 1, size=(7, 4))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    literal = sum(kernel(a[i], a[j]) for i in range(5) for j in range(5) if i != j) / 20
    literal += sum(kernel(b[i], b[j]) for i in range(7) for j in range(7) if i != j) / 42
    literal -= 2 * sum(kernel(x, y) for x in a for y in b) / 35
    assert kernel_distance(a, b) == pytest.approx(literal)
    with pytest.raises(ConfigError, match="two"):
        kernel_distance(a[:1], b)


pytest.importorskip("PIL", reason="the extra creative is not installed")


def bands(values: torch.Tensor) -> torch.Tensor:
    """Pictures [N, 3, 16, 16] of values [N, 2]: the brightness of the upper and the lower half."""
    pictures = torch.zeros(len(values), 3, 16, 16)
    pictures[:, :, :8] = values[:, 0, None, None, None]
    pictures[:, :, 8:] = values[:, 1, None, None, None]
    return pictures


class Painter:
    """A generator whose latents are the two halves, and a third number that nobody sees."""

    config = SimpleNamespace(wide=3, rows=1)

    def latents(self, z: torch.Tensor) -> torch.Tensor:
        return z / 4

    def rows_of(self, w: torch.Tensor) -> torch.Tensor:
        return w[:, None]

    def pictures(self, plus: torch.Tensor) -> torch.Tensor:
        return bands(plus[:, 0, :2])


@pytest.fixture(scope="module")
def drawn_attributes() -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    values = torch.rand(1500, 2) * 2 - 1
    noise = np.random.default_rng(0).normal(size=1500).astype(np.float32)
    pictures = bands(values) + 0.05 * torch.randn(1500, 3, 16, 16)
    named = {"top": values[:, 0].numpy(), "bottom": values[:, 1].numpy(), "noise": noise}
    return pictures, named


def test_what_a_direction_moves(
    drawn_attributes: tuple[torch.Tensor, dict[str, np.ndarray]],
) -> None:
    pictures, labels = drawn_attributes
    reader = fit_reader(pictures, labels, epochs=8)
    assert min(reader.quality["top"], reader.quality["bottom"]) > 0.9
    assert reader.quality["noise"] < 0.2
    reader = fit_reader(pictures, {k: labels[k] for k in ("top", "bottom")}, epochs=8)
    vectors = torch.tensor([[1.0, 0, 0], [0, -1.0, 0], [0.6, 0.8, 0]])
    found = moved_attributes(Painter(), Directions(vectors, (0,)), reader, seed=0)
    assert found.named == ("top", "bottom", "bottom")
    assert found.change[0] > 2 > -2 > found.change[1]
    assert found.leak[:2].max() < 0.3 < found.leak[2]
    # The median of the others is the only other one here.
    assert found.hit.tolist() == [True, True, False]
    far = moved_attributes(
        Painter(), Directions(vectors, (0,)), reader, seed=0, step=0.5, latents=50
    )
    assert abs(far.change[0]) < abs(found.change[0])


@torch.no_grad()
def test_training_measures_pictures_are_those_of_the_layout() -> None:
    state = random_nvidia(32, 8, 2)
    assert NVIDIA_MARKER in state
    generator = nvidia_generator(Named(state))
    config = generator.config
    assert (config.side, config.wide, config.layers, config.rows) == (32, 8, 2, 8)
    torch.manual_seed(0)
    z, plus = torch.randn(3, 8), torch.randn(3, 8, 8)
    torch.testing.assert_close(generator.latents(z), nvidia_latents(state, z), atol=1e-5, rtol=1e-5)
    literal = nvidia_pictures(state, plus)
    torch.testing.assert_close(generator.pictures(plus), literal, atol=1e-4, rtol=0)
    assert torch.equal(generator.mean, state["mapping.w_avg"])


SMALL = GeneratorConfig(side=16, wide=8, layers=2, base=64, most=8)


def planted() -> tuple[Generator, torch.Tensor]:
    """A generator whose styles at rows 1 and 2 read one direction more than any other."""
    torch.manual_seed(0)
    generator = Generator(SMALL)
    direction = torch.tensor([3.0, -4.0, 0, 0, 0, 0, 0, 0]) / 5
    with torch.no_grad():
        for row in (1, 2):
            weight = generator.convs[row].conv.affine.weight
            weight.mul_(0.1).add_(2 * torch.randn(len(weight), 1) * direction)
    return generator, direction


def test_the_planted_direction_is_found_first() -> None:
    generator, direction = planted()
    found = sefa(generator, 3, (1, 2))
    assert float((found.vectors[0] @ direction).abs()) > 0.99
    assert float(found.vectors[0].abs().max()) == float(found.vectors[0].max())
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(3), atol=1e-5, rtol=0)


def test_directions_maximise_the_change_of_styles() -> None:
    generator, _ = planted()
    found = sefa(generator, 8)
    weights = [conv.conv.affine.weight.detach() for conv in generator.convs]
    literal = []
    for n in found.vectors:
        change = 0.0
        for weight in weights:
            for line in weight:
                change += float(line @ n / line.norm()) ** 2
        literal.append(change**0.5)
    assert literal == sorted(literal, reverse=True)
    random = torch.randn(200, 8)
    for n in random / random.norm(dim=1, keepdim=True):
        change = sum(float(((w @ n) / w.norm(dim=1)).square().sum()) for w in weights)
        assert change**0.5 <= literal[0] + 1e-4


@torch.no_grad()
def test_an_edit_of_a_row_changes_no_feature_below_its_resolution() -> None:
    generator, _ = planted()
    seen: dict[int, torch.Tensor] = {}
    for at, conv in enumerate(generator.convs):
        conv.register_forward_hook(lambda _m, _i, o, at=at: seen.__setitem__(at, o))
    plus = generator.rows_of(torch.randn(1, 8))
    generator.pictures(plus)
    before = dict(seen)
    found = sefa(generator, 1, (3, 4))
    generator.pictures(found.edited(plus, torch.ones(1, 1)))
    assert [torch.equal(seen[at], before[at]) for at in range(5)] == [True] * 3 + [False] * 2


def test_edits() -> None:
    plus = torch.zeros(2, 6, 8)
    found = Directions(torch.eye(8)[:2], (1, 3))
    moved = found.edited(plus, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
    assert moved[0, 1].tolist() == moved[0, 3].tolist() == [1.0, *[0.0] * 7]
    assert moved[1, 1].tolist() == [0.0, -2.0, *[0.0] * 6]
    assert not moved[:, [0, 2, 4, 5]].any()
    assert not plus.any()
    with pytest.raises(ConfigError, match="amounts"):
        found.edited(plus, torch.ones(2, 3))


def test_a_direction_that_is_fitted() -> None:
    torch.manual_seed(0)
    true = torch.randn(8)
    latents = torch.randn(2000, 8)
    found = fitted_direction(latents, latents @ true + 3, ridge=1e-6)
    torch.testing.assert_close(found, true / true.norm(), atol=1e-3, rtol=0)
    shrunk = fitted_direction(latents * torch.arange(1, 9), latents @ true, ridge=10.0)
    assert not torch.allclose(shrunk, found, atol=1e-2)
    with pytest.raises(ConfigError, match="same everywhere"):
        fitted_direction(latents, torch.ones(2000))


@pytest.mark.parametrize(("count", "rows"), [(0, None), (9, None), (1, (5,)), (1, ()), (1, (-1,))])
def test_what_is_no_choice(count: int, rows: tuple[int, ...] | None) -> None:
    with pytest.raises(ConfigError):
        sefa(planted()[0], count, rows)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(CONFIG)


def test_numbers_of_sefa_and_vectors_have_names(generator: Generator, tmp_path: Path) -> None:
    _, path = small_faces(tmp_path)
    found = named_directions(path, generator)
    assert found.names == ("smile", "turn")
    assert found.groups == ("expression", "pose")
    assert found.directions.rows == (1, 2)
    assert found.unknown == ("gender", "age", "ethnicity")
    torch.testing.assert_close(found.directions.vectors[1], sefa(generator, 2, (1, 2)).vectors[1])
    np.testing.assert_allclose(np.linalg.norm(found.vector("smile")), 1, atol=1e-6)
    assert found.locked["skin"].shape == (1, 8)
    with pytest.raises(ConfigError, match="no direction"):
        found.vector("age")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("sefa = 1", "sefa = 99", "directions"),
        ("rows = [1, 2]", "rows = [77]", "rows"),
        ('vector = "smile"', 'vector = "grin"', "no vector 'grin'"),
        ('vector = "smile"', 'vector = "smile"\nsefa = 2', "number of SeFa"),
        ('vectors = "vectors.safetensors"', 'vectors = "../v"', "elsewhere|read"),
        ('vectors = "vectors.safetensors"', 'vectors = "none"', "cannot be read"),
        ('name = "turn"', 'name = "smile"', "named twice"),
        ('group = "pose"', 'group = "gender"', "group|gender"),
    ],
)
def test_what_is_no_file_of_directions_is_refused(
    generator: Generator, tmp_path: Path, old: str, new: str, says: str
) -> None:
    _, path = small_faces(tmp_path)
    path.write_text(DIRECTIONS.replace(old, new), "utf-8")
    with pytest.raises(ConfigError, match=says):
        named_directions(path, generator)


def test_vectors_of_another_width_are_refused(generator: Generator, tmp_path: Path) -> None:
    _, path = small_faces(tmp_path)
    for wrong in (torch.ones(4), torch.zeros(8), torch.full((8,), float("nan"))):
        save_file({"smile": wrong, "skin": torch.ones(8)}, tmp_path / "vectors.safetensors")
        with pytest.raises(ConfigError, match="smile"):
            named_directions(path, generator)
    with pytest.raises(ConfigError):
        DirectionsFile(())
    with pytest.raises(ConfigError):
        AllowedDirection("smile", "expression", sefa=-1)
    with pytest.raises(ConfigError):
        LockedDirection("skin")


NAMES = ("smile", "turn")


@pytest.fixture(scope="module")
def opened_generator() -> Generator:
    torch.manual_seed(0)
    made = Generator(GeneratorConfig(side=16, wide=16, base=128, most=16)).eval()
    return made


@pytest.fixture(scope="module")
def directions(opened_generator: Generator) -> Directions:
    return random_directions(16, 2, (1, 2), seed=3)


def inverted(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.mean((1, 2, 3))[:, None, None].expand(-1, 6, 16)


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(40, 200, (count, 16, 16, 3), dtype=np.uint8)


def test_it_adds_what_the_generator_changes(
    opened_generator: Generator, directions: Directions
) -> None:
    mover = GeneratorMover(opened_generator, inverted, directions, names=NAMES)
    given, amounts = crops(3), np.array([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0]])
    moved = mover.moved(given, amounts)
    np.testing.assert_array_equal(moved[0], given[0])
    with torch.no_grad():
        x = torch.from_numpy(given[1]).permute(2, 0, 1)[None].float() / 127.5 - 1
        plus = inverted(x)
        new = plus.clone()
        new[:, [1, 2]] += 2 * directions.vectors[0]
        wanted = x + opened_generator.pictures(new) - opened_generator.pictures(plus)
    wanted_pixels = ((wanted[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
    assert np.abs(moved[1] - wanted_pixels).max() <= 1
    assert not np.array_equal(moved[1], given[1])


def test_a_face_that_is_asked_about_many_times_is_inverted_once(
    opened_generator: Generator, directions: Directions
) -> None:
    seen = []

    def counted(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(len(pictures))
        return inverted(pictures)

    mover = GeneratorMover(opened_generator, counted, directions, names=NAMES)
    given = np.concatenate([crops(2), crops(2), crops(1)])
    amounts = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 2))
    moved = mover.moved(given, amounts)
    assert seen == [2]
    np.testing.assert_array_equal(mover.moved(given, amounts), moved)
    assert seen == [2]
    for at in range(5):
        alone = mover.moved(given[at : at + 1], amounts[at : at + 1])[0]
        assert np.abs(alone.astype(int) - moved[at]).max() <= 1


def test_names_and_shapes_are_checked(opened_generator: Generator, directions: Directions) -> None:
    mover = GeneratorMover(opened_generator, inverted, directions, names=NAMES)
    np.testing.assert_allclose(mover.vector("turn"), directions.vectors[1].numpy(), atol=1e-7)
    with pytest.raises(ConfigError, match="no direction 'age'"):
        mover.vector("age")
    with pytest.raises(DataError, match="amounts of shape"):
        mover.moved(crops(2), np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="1 different names"):
        GeneratorMover(opened_generator, inverted, directions, names=("smile", "smile"))


CROPS = np.random.default_rng(1).integers(40, 200, (3, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenedFaces:
    return OpenedFaces.load(*small_faces(tmp_path_factory.mktemp("faces")))


def test_crops_are_moved_inverted_and_named(opened: OpenedFaces) -> None:
    mover = opened.mover
    assert mover.names == ("smile", "turn")
    moved = mover.moved(CROPS, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(moved[0], CROPS[0])
    assert opened.side == 16
    plus = opened.plus(CROPS)
    wanted = opened.encoder.invert(opened.faces, as_pictures(CROPS)).numpy()
    np.testing.assert_allclose(plus, wanted, rtol=1e-6)
    mean = opened.faces.generator.mean.numpy()
    np.testing.assert_allclose(opened.embedding(CROPS), (wanted - mean).reshape(3, -1), rtol=1e-5)


def test_latents_are_drawn_by_the_seed(opened: OpenedFaces) -> None:
    one, same, other = (opened.latents(5, seed=seed) for seed in (0, 0, 1))
    assert one.shape == (5, 8)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    with pytest.raises(ConfigError):
        opened.latents(0, seed=0)


def test_realness_of_a_crop_is_its_own(opened: OpenedFaces, tmp_path: Path) -> None:
    whole, alone = opened.realness(CROPS), opened.realness(CROPS[1:2])
    assert whole is not None
    assert alone is not None
    np.testing.assert_allclose(whole[1], alone[0], rtol=1e-5)
    without = OpenedFaces.load(*small_faces(tmp_path, discriminator=False))
    assert without.realness(CROPS) is None


def test_a_folder_that_lacks_a_part(tmp_path: Path) -> None:
    folder, directions = small_faces(tmp_path)
    shutil.rmtree(folder / "encoder")
    with pytest.raises(ArtifactError, match="no 'encoder'"):
        OpenedFaces.load(folder, directions)
    with pytest.raises(ArtifactError, match="no 'faces'"):
        OpenedFaces.load(folder / "nowhere", directions)
