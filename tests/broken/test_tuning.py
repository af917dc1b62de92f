"""Texts, files of jobs and settings of methods that a tuning cannot take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.training.tuning.run import read_jobs
from adwright.training.tuning.texts import PairsConfig, Texts
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.reparameterised.lora import LoRA
from tests.broken.cases import Case, Make, Shop, check, named, raw


def texts(data: str | bytes) -> Make:
    """A file of pairs."""
    return raw("pairs.jsonl", data, lambda path: PairsConfig(path).rows())


def jobs(data: str | bytes, name: str = "jobs.toml") -> Make:
    """A file of jobs."""
    return raw(name, data, read_jobs)


def job(method: str) -> Make:
    """A file of one job with this method."""
    return jobs(f'[[jobs]]\nname = "a"\ndata.files = ["a.jsonl"]\n[jobs.method]\n{method}\n')


def asked(call: Callable[[], object]) -> Make:
    """A call that needs no file."""
    return lambda *_: call


GOOD = '{"prompt": "tea", "answer": "green"}\n'
CASES = [
    Case(
        "no file",
        lambda here, _: PairsConfig(here / "none.jsonl").rows,
        DataError,
        ("none.jsonl", "cannot be read", "check the path"),
    ),
    Case("texts in UTF-16", texts(b"\xff\xfe{"), DataError, ("pairs.jsonl", "cannot be read")),
    Case("no JSON", texts(f"{GOOD}tea"), DataError, ("row 1", "no JSON", "one object per line")),
    *(
        Case(
            f"line is {line}",
            texts(f"{GOOD}{line}\n"),
            DataError,
            ("pairs.jsonl, row 1, column", "lacks a text", "name the fields"),
        )
        for line in ('["tea"]', '{"prompt": "tea"}', '{"prompt": "tea", "answer": 3}', "null")
    ),
    *(
        Case(
            f"blank {column}",
            asked(lambda pair=pair: Texts.of([pair], None)),  # type: ignore[misc]
            ValueInvalidError,
            (f"row 0, column {column}", "needs a prompt and an answer", "leave the row out"),
        )
        for column, pair in (("prompt", (" ", "b")), ("answer", ("a", "")))
    ),
    Case("jobs that are no table", jobs("[]", "jobs.json"), ConfigError, ("jobs.json", "no table")),
    Case("jobs cut off", jobs('{"jobs"', "jobs.json"), ConfigError, ("jobs.json", "check the")),
    Case(
        "misspelt key",
        jobs("jobs = []\nmodle = 'm'\n"),
        ConfigError,
        ("jobs.toml, key modle", "did you mean model?"),
    ),
    Case("no jobs", jobs('out = "x"\n'), ConfigError, ("jobs.toml, key jobs",)),
    Case(
        "unknown method", job('kind = "Loro"'), ConfigError, ("no method is called 'Loro'", "LoRA")
    ),
    Case("rank of zero", job('kind = "LoRA"\nrank = 0'), ConfigError, ("jobs.toml", "rank")),
    Case(
        "unknown target",
        asked(lambda: LoRA(targets=("everything",))),  # type: ignore[arg-type]
        ConfigError,
        ("LoRA.targets", "'everything'"),
    ),
    *(
        Case(
            f"{name} of {value}",
            asked(lambda name=name, value=value: TuneConfig(**{name: value})),  # type: ignore[misc]
            ConfigError,
            (said, f"[{value}]"),
        )
        for name, value, said in (
            ("batch", 0, "batch must be at least 1"),
            ("steps", -1, "steps must not be negative"),
            ("clip_norm", float("inf"), "clip_norm must not be negative"),
            ("learning_rate", 0.0, "learning_rate must be positive"),
        )
    ),
]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_tuning(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)
