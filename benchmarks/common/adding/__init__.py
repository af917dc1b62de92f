"""How many files of src an addition touches: each module adds something made up to a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.common.adding.act import put_act
from benchmarks.common.adding.attack import put_attack
from benchmarks.common.adding.click_model import put_click_model
from benchmarks.common.adding.copied import Copied, files_touched
from benchmarks.common.adding.engine import put_engine
from benchmarks.common.adding.method import put_method
from benchmarks.common.adding.platform import put_platform
from benchmarks.common.adding.ranker import put_ranker
from benchmarks.common.adding.sequence_model import put_sequence_model

SRC = Path(__file__).resolve().parents[3] / "src"
ADDITIONS: Mapping[str, Callable[[Copied], None]] = {
    "ranker": put_ranker,
    "sequence_model": put_sequence_model,
    "click_model": put_click_model,
    "method": put_method,
    "engine": put_engine,
    "platform": put_platform,
    "act": put_act,
    "attack": put_attack,
}


def counts(src: Path = SRC) -> dict[str, int]:
    """Files of `src` that a made-up one of each kind touches, its own included.

    Raises ValueError where the place that it is added at is not there, or not the only one.
    """
    return {kind: files_touched(src, put) for kind, put in ADDITIONS.items()}
