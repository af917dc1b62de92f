import json
from pathlib import Path

import pytest

from adwright.core.errors import ResourceError
from adwright.creative.memory.ad_blocks import BlockConfig
from adwright.creative.memory.fitted import FittedMemory
from adwright.creative.memory.outcomes import read_recall
from adwright.creative.memory.recall_run import train_recall

CONFIG = BlockConfig(sentences="hashed", language="")


def test_a_run_says_brands_and_content_apart(tmp_path: Path, shared_data: Path) -> None:
    table = read_recall(shared_data / "lambda" / "ads.jsonl")
    run = train_recall(table, tmp_path / "run", CONFIG)
    said = "\n".join(run.sentences())
    for words in ("brands held out", "brands seen", "of the content, beyond its brand"):
        assert words in said
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["ads"] == 108
    again = FittedMemory.load(run.folder)
    assert again.judge(table.records[:3]).value.tolist() == (
        run.model.judge(table.records[:3]).value.tolist()
    )
    with pytest.raises(ResourceError):
        train_recall(table, tmp_path / "run", CONFIG)
    train_recall(table, tmp_path / "run", CONFIG, overwrite=True)
