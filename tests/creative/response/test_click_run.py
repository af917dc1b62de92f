import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import ResourceError
from adwright.creative.response.click_run import train_clicks
from adwright.creative.response.fit import ClickRateConfig
from adwright.creative.response.inputs.texts import encoded_texts
from adwright.creative.response.protocol.outcomes import UPWORTHY, read_outcomes


def test_a_run_says_what_simpler_rules_reach(tmp_path: Path, shared_data: Path) -> None:
    frame = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet")
    tests = frame["clickability_test_id"].unique(maintain_order=True).head(40).to_list()
    outcomes = read_outcomes(frame.filter(pl.col("clickability_test_id").is_in(tests)), UPWORTHY)
    config = replace(ClickRateConfig(), epochs=1)
    texts = encoded_texts(folder=tmp_path / "kept")
    run = train_clicks(outcomes, tmp_path / "run", config, texts=texts)
    said = "\n".join(run.sentences())
    assert "n-grams alone" in said
    assert "90%" in said
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["creatives"] == len(outcomes)
    with pytest.raises(ResourceError):
        train_clicks(outcomes, tmp_path / "run", config, texts=texts)
    train_clicks(outcomes, tmp_path / "run", config, texts=texts, overwrite=True)
