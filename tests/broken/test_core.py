"""Artifacts and run files."""

from __future__ import annotations

import json
import pickle
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.artifacts import MANIFEST, load_artifact, save_artifact
from adwright.core.config import load_toml
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    DataError,
    ResourceError,
    ValueInvalidError,
)
from adwright.data.sources.tables import write_events
from adwright.delivery.popularity import save_popularity
from adwright.service.config import ServiceConfig
from adwright.service.registry.publishing import load_deployed
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.scoring import score_file
from adwright.training.tuning.run import read_jobs
from adwright.training.tuning.texts import PairsConfig, Texts
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.reparameterised.lora import LoRA
from tests.broken.cases import (
    LOG,
    Call,
    Case,
    Make,
    Shop,
    artifact,
    beside_a_file,
    check,
    edit_manifest,
    flip,
    forge,
    named,
    raw,
    run_file,
    task_of,
)


def manifest_without_its_id(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def manifest_is_a_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def other_kind(here: Path, _: Shop) -> Call:
    tensors = {"a": np.zeros(2)}
    save_artifact(here / "other", kind="index", config={}, tensors=tensors)
    return lambda: Ranker.load(here / "other")


ARTIFACTS = [
    Case(
        "pickle for tensors",
        artifact(lambda f: forge(f, "tensors.safetensors", pickle.dumps({"a": 1}))),
        ArtifactUnsafeError,
        ("tensors.safetensors is a pickle", "could run code", "store arrays as tensors"),
    ),
    Case(
        "zip of torch.save",
        artifact(lambda f: torch.save({"a": 1}, f / "model.pt")),
        ArtifactUnsafeError,
        ("model.pt is a pickle",),
    ),
    Case(
        "flipped byte",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ArtifactCorruptError,
        ("tensors.safetensors", "SHA-256 differs", "copy or make"),
    ),
    Case(
        "tensors that are none",
        artifact(lambda f: forge(f, "tensors.safetensors", b"\0" * 64)),
        ArtifactCorruptError,
        ("tensors.safetensors", "cannot be read"),
    ),
    Case(
        "extra file",
        artifact(lambda f: (f / "notes.txt").write_text("mine")),
        ArtifactCorruptError,
        ("notes.txt", "manifest does not list", "copy or make"),
    ),
    Case(
        "missing file",
        artifact(lambda f: (f / "items.parquet").unlink()),
        ArtifactCorruptError,
        ("items.parquet", "missing"),
    ),
    Case(
        "path traversal",
        artifact(
            lambda f: edit_manifest(
                f, lambda m: m["files"].update({"../secret": m["files"]["items.parquet"]})
            )
        ),
        ArtifactUnsafeError,
        ("'../secret'", "could leave", "relative name"),
    ),
    Case(
        "symbolic link",
        artifact(lambda f: (f / "link").symlink_to(f.parent)),
        ArtifactUnsafeError,
        ("link is a symbolic link", "store the file itself"),
    ),
    Case(
        "hash of a file",
        artifact(
            lambda f: edit_manifest(
                f, lambda m: m["files"]["items.parquet"].update(sha256="0" * 64)
            )
        ),
        ArtifactCorruptError,
        ("items.parquet", "SHA-256 differs"),
    ),
    Case(
        "id of the manifest",
        artifact(manifest_without_its_id),
        ArtifactCorruptError,
        ("manifest.json", "differs from its own id"),
    ),
    Case(
        "newer format",
        artifact(lambda f: edit_manifest(f, lambda m: m.update(format_version=99))),
        ArtifactError,
        ("manifest.json", "format 99", "version of adwright that wrote it"),
    ),
    Case(
        "manifest is a folder",
        artifact(manifest_is_a_folder),
        ArtifactError,
        ("manifest.json", "cannot be read", "a file"),
    ),
    Case(
        "calibrator of no known form",
        artifact(lambda f: forge(f, "calibrator.json", b"[]")),
        ArtifactError,
        ("[/", "/ranker]", "calibrator", "fit it again"),
    ),
    Case("other kind", other_kind, ArtifactError, ("other", "'index', not 'ranker'", "pass the")),
    Case(
        "artifact is a file",
        raw("ranker", "hello", load_artifact),
        ArtifactError,
        ("ranker", "no artifact here", "manifest.json"),
    ),
    Case(
        "artifact below a file",
        beside_a_file(lambda file, shop: shop.ranker.save(file / "it")),
        ResourceError,
        ("not a folder", "choose another path"),
    ),
    Case(
        "unknown key",
        run_file("[fit]\nepoch = 1\n"),
        ConfigError,
        ("run.toml, key fit.epoch", "unknown key", "did you mean epochs?"),
    ),
    Case(
        "wrong type",
        run_file('seed = "3"\n'),
        ConfigError,
        ("run.toml, key seed", "valid integer", '"3"', "correct the value"),
    ),
    Case(
        "value out of range",
        run_file("[fit]\nlearning_rate = nan\n"),
        ConfigError,
        ("run.toml", "learning_rate must be positive"),
    ),
    Case("broken TOML", run_file("seed = \n"), ConfigError, ("run.toml", "line 1", "mend")),
    Case("run file in UTF-16", run_file(b"\xff\xfes"), ConfigError, ("run.toml", "UTF-8")),
]


@pytest.mark.parametrize("case", ARTIFACTS, ids=named)
def test_artifacts_and_runs(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


THOMPSON = '[policy]\nkind = "thompson"\n'


def serving(text: str) -> Make:
    """A version of a tenant that these settings go with, loaded as the service does."""

    def make(here: Path, _: Shop) -> Call:
        save_popularity(here / "acme" / "v1", ("i0", "i1"), np.array([2.0, 1.0]))
        (here / "acme" / "serving.toml").write_text(text)
        return lambda: load_deployed(here / "acme" / "v1")

    return make


def version(change: Callable[[Path], object]) -> Make:
    """A version after `change` of its folder."""

    def make(here: Path, shop: Shop) -> Call:
        load = serving("")(here, shop)
        change(here / "acme" / "v1")
        return load

    return make


def of_no_kind_that_is_served(here: Path, _: Shop) -> Call:
    save_artifact(here / "v1", kind="din", config={})
    return lambda: load_deployed(here / "v1")


def setting(name: str, text: str, *parts: str) -> Case:
    """A wrong serving.toml: refused with the file and what `parts` say."""
    return Case(name, serving(text), ConfigError, ("acme/serving.toml", *parts))


def limit(name: str, text: str, *parts: str) -> Case:
    """A wrong service.toml."""
    make = raw("service.toml", text, lambda path: load_toml(path, ServiceConfig))
    return Case(f"service.toml: {name}", make, ConfigError, ("service.toml", *parts))


SETTINGS = [
    setting("unknown key", "sed = 1", "key sed", "unknown key", "did you mean seed?"),
    setting("broken TOML", "seed = \n", "line 1", "mend"),
    setting("seed below zero", "seed = -1", "key seed", "must not be negative"),
    setting("id of two lines", 'policy_id = "a\\nb"', "key policy_id", "printable"),
    setting("unknown policy", '[policy]\nkind = "luck"', "key policy", "luck"),
    setting("misspelt cap", "[[caps]]\nlimitt = 1", "key caps.0.limitt", "did you mean limit?"),
    setting("cap of nothing", "[[caps]]\nlimit = 0", "at least 1"),
    setting("cap per basket", '[[caps]]\nper = "basket"', "key caps.0.per", "campaign"),
    setting("cap per absent campaign", '[[caps]]\nper = "campaign"', "key campaigns", "add"),
    setting("budget as text", '[pacing]\nbudget.x = "much"', "key pacing.budget.x", "number"),
    setting(
        "budget without items",
        "[pacing]\nbudget.two = 1.0\n[campaigns]\none = ['i0']",
        *("key pacing.budget.two", "list its items as two below [campaigns]"),
    ),
    setting("flight without an end", "[pacing]\nbudget.one = 1.0\nstart = 2024-03-02", "start"),
    setting("variety without categories", "[diversity]\nweight = 1.0", "key categories", "add"),
    Case(
        "variety by vectors that the model lacks",
        serving('[diversity]\nweight = 1.0\nsimilarity = "vectors"'),
        ConfigError,
        ("no item vectors", "key diversity.similarity", 'use "category", or a cascade'),
    ),
    setting("evidence for greedy", "[evidence]", "key evidence", 'policy.kind = "thompson"'),
    setting(
        "evidence of no event", f'{THOMPSON}[evidence]\nresponse = "nod"', "key evidence.response"
    ),
    setting(
        "item in two campaigns",
        "[campaigns]\none = ['i0']\ntwo = ['i0']",
        *("key campaigns.two", "it is in one already"),
    ),
    limit("unknown key", "deadline = 4", "key deadline", "did you mean deadline_ms?"),
    limit("endless wait", "batch_wait_ms = inf", "batch_wait_ms", "isfinite"),
    limit("deadline beyond the longest", "deadline_ms = 9000.0", "must not exceed max_deadline_ms"),
    limit("words for a number", 'max_queue = "long"', "key max_queue", "correct the value"),
    Case(
        "kind that is not served",
        of_no_kind_that_is_served,
        ArtifactError,
        ("kind 'din' cannot be served", "/v1]", "publish one of these"),
    ),
    Case(
        "version without a manifest",
        version(lambda folder: (folder / MANIFEST).unlink()),
        ArtifactError,
        ("there is no artifact here", MANIFEST),
    ),
    *(
        Case(
            f"manifest is {json.dumps(text)}",
            version(lambda folder, text=text: (folder / MANIFEST).write_text(text)),  # type: ignore[misc]
            ArtifactCorruptError,
            (MANIFEST, "copy or make the artifact again"),
        )
        for text in ("", "[]", '{"kin": 1}')
    ),
    Case(
        "flipped byte of a version",
        version(lambda folder: flip(folder / "tensors.safetensors")),
        ArtifactCorruptError,
        ("tensors.safetensors", "SHA-256 differs"),
    ),
]


@pytest.mark.parametrize("case", SETTINGS, ids=named)
def test_serving(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


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


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page of 4 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command, so no small disk to fill")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here (it needs root): {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def csv_through_a_full_scratch(disk: Path, shop: Shop) -> object:
    rows = disk.parent / "rows.csv"
    pl.concat([shop.rows] * 20).write_csv(rows, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    tempfile.tempdir = str(disk)  # the fixture puts it back
    return score_file(
        shop.ranker, rows, shop.folder / "events.parquet", disk.parent / "scores.parquet"
    )


FULL: dict[str, Callable[[Path, Shop], object]] = {
    "artifact": lambda disk, shop: shop.ranker.save(disk / "ranker"),
    "task": lambda disk, shop: task_of(lambda rows: rows)(disk, shop)(),
    "scores": lambda disk, shop: score_file(
        shop.ranker,
        shop.folder / "rows.parquet",
        shop.folder / "events.parquet",
        disk / "s.parquet",
    ),
    "scores from CSV": csv_through_a_full_scratch,
    "events": lambda disk, shop: write_events(disk / "log.parquet", pl.concat(many())),
    "CSV": lambda disk, shop: write_events(disk / "log.csv", pl.concat(many())),
}


def many() -> list[pl.DataFrame]:
    return [LOG.with_columns(event_id=pl.format("{}-{}", "event_id", n)) for n in range(500)]


@pytest.mark.parametrize("name", FULL)
def test_full_disk(name: str, full_disk: Path, shop: Shop) -> None:
    with pytest.raises(ResourceError, match=r"the disk is full \[.*\] -> free some space"):
        FULL[name](full_disk, shop)
    assert list(full_disk.iterdir()) == []
    assert not (full_disk.parent / "scores.parquet").exists()
    assert not list(full_disk.parent.glob(".*"))
