"""The picture of a run."""

from __future__ import annotations

from pathlib import Path

from adwright.training.loop.run_folder import draw_curves


def points(path: Path) -> int:
    return path.read_text("utf-8").count('aria-roledescription="point"')


def test_losses_and_the_goal_have_panels_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    lines = []
    for number in range(3):
        curve = [[number * 10 + 5, 0.7 - 0.1 * number], [number * 10 + 10, 0.65 - 0.1 * number]]
        valid = {"valid_loss": 0.6, "valid_gauc": 0.5 + 0.1 * number}
        lines.append(
            {"batches": number * 10 + 10, "train_loss": 0.6, "train_curve": curve, **valid}
        )
    draw_curves(path, lines, "valid_gauc")
    text = path.read_text("utf-8")
    assert text.startswith("<svg")
    for word in ("Loss", "valid_gauc", "training", "validation", "Steps"):
        assert word in text
    # Six points of the training curve, three of each validation curve.
    assert points(path) == 12


def test_a_loss_that_decides_stands_beside_the_training(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    lines = [{"step": n, "train_loss": 2.0 / n, "valid_nll": 3.0 / n} for n in (1, 2, 3)]
    draw_curves(path, lines, "valid_nll")
    assert points(path) == 6
    assert "valid_nll" not in path.read_text("utf-8")
    jobs = [{"job": name, **line} for line in lines for name in ("a", "b")]
    draw_curves(path, jobs, "valid_nll")
    assert "a: training" in path.read_text("utf-8")
    assert points(path) == 12


def test_without_records_there_is_no_picture(tmp_path: Path) -> None:
    draw_curves(tmp_path / "curves.svg", [], "goal")
    assert not (tmp_path / "curves.svg").exists()
