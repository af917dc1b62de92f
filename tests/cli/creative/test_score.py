from pathlib import Path

from tests.support.commands import call


def test_a_folder_that_holds_no_judge(shop: Path) -> None:
    said = call("creative", "score", shop / "ads.csv", "--model", shop, code=2)
    assert "Error" in said
    said = call("creative", "explain", shop / "ads.csv", "--model", shop, code=2)
    assert "Error" in said


def test_answers_go_into_tables_alone(shop: Path) -> None:
    said = call(
        "creative", "score", shop / "ads.csv", "--model", shop, "--out", "scores.xlsx", code=2
    )
    assert "CSV or Parquet" in said
