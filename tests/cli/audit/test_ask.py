from pathlib import Path

from tests.support.audit.chats import kettle_files
from tests.support.audit.shops import KETTLES
from tests.support.commands import call


def test_an_assistant_names_products_of_the_shop(tmp_path: Path, small: Path) -> None:
    shop, _ = kettle_files(tmp_path)
    said = call("audit", "ask", shop, "glass", "-k", 2, "--model", small, "--facts-alone")
    lines = [line for line in said.splitlines() if line[:2] in ("1.", "2.")]
    assert len(lines) == 2
    assert all(line[3:].partition(":")[0] in KETTLES for line in lines)
    assert "Price: $" in lines[0]


def test_reasons_of_a_model_of_no_sense_are_the_facts_or_harmless(
    tmp_path: Path, small: Path
) -> None:
    shop, _ = kettle_files(tmp_path)
    options = ("-k", 1, "--model", small, "--rule", "mean", "--average", 2, "--shown", 3)
    said = call("audit", "ask", shop, "glass", *options)
    (line,) = [one for one in said.splitlines() if one.startswith("1. ")]
    assert line[3:].partition(":")[0] in KETTLES
