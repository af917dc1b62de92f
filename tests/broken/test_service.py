"""What an operator may get wrong: serving.toml, service.toml and the folder of a version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import MANIFEST, save_artifact
from adwright.core.config import load_toml
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError
from adwright.delivery.popularity import save_popularity
from adwright.service.config import ServiceConfig
from adwright.service.registry.publishing import load_deployed
from tests.broken.cases import Call, Case, Make, Shop, check, flip, named, raw

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
    setting("cap of nothing", "[[caps]]\nlimit = 0", "limit 0"),
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
    setting("limit below zero", "[diversity]\nmax_per_category = -1", "must not be negative"),
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
    limit("no batch", "batch_size = 0", "batch_size", "at least 1"),
    limit("no time", "deadline_ms = 0.0", "deadline_ms", "above 0"),
    limit("endless wait", "batch_wait_ms = inf", "batch_wait_ms", "must not be negative"),
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
