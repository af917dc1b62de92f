"""Adapters that no batch holds answer beside those that it does, over the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import ArtifactError, ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.adapter_cache import NotGathered
from adwright.lm.serving.adapter_model import AloneAdapters
from adwright.lm.serving.config import ServingConfig
from adwright.lm.torch_engine.model import TorchModel
from adwright.lm.torch_engine.network import tuned_over
from adwright.tuning.additive.prompts import DePT
from adwright.tuning.methods import Method
from adwright.tuning.references import NormTuning
from adwright.tuning.reparameterised.factors import KronA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.storage import fingerprint
from tests.support.lm.adapter_engine import models_of
from tests.support.lm.serving_methods import SERVED, tuned_and_saved
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

CONFIG = GenerationConfig(max_tokens=6)
TEXTS = ("the best tea", "buy two packs of")
ALONE: dict[str, Method] = {
    "krona": KronA(factor=4),
    "norms": NormTuning(),
    "dept": DePT(length=3, longest=64, rank=2),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("parts")
    methods: dict[str, Method] = {**ALONE, "lora": LoRA(rank=2)}
    for seed, (name, method) in enumerate(methods.items(), start=1):
        tuned_and_saved(method, top / name, seed)
    return {name: top / name for name in methods}


# peft's SHIRA makes sparse tensors, of which torch warns.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("name", SERVED)
def test_every_method_is_served(name: str, tmp_path: Path) -> None:
    """In the batch or alone: the answers are those of the plain engine on that adapter."""
    tuned_and_saved(SERVED[name], tmp_path / "part")
    models = models_of({"part": tmp_path / "part"})
    plain = TorchModel(tuned_over(tiny_llama(), tmp_path / "part"), tiny_tokens(), name="part")
    assert models["part"].generate(TEXTS, CONFIG).texts == plain.generate(TEXTS, CONFIG).texts


def test_beside_the_batch(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    assert list(models) == ["base", "lora", *ALONE]
    assert len(models) == 5
    answers = {name: tuple(models[name].generate(TEXTS, CONFIG).texts) for name in models}
    assert len(set(answers.values())) == 5
    states = {one.name: one for one in models.adapters()}
    assert {states[name].tier for name in ALONE} == {"alone"}
    assert states["krona"].method == "KronA"
    assert states["krona"].bytes > 0
    # Another engine over the same folders says the same, so nothing was left behind in the base.
    assert tuple(models_of({})["base"].generate(TEXTS, CONFIG).texts) == answers["base"]
    models.remove("krona")
    with pytest.raises(KeyError):
        models["krona"]
    with pytest.raises(ConfigError, match="name is taken"):
        models.add("norms", folders["norms"])


def test_the_least_used_are_dropped(folders: dict[str, Path]) -> None:
    base = tiny_llama()
    before = fingerprint(base)
    alone = AloneAdapters(base, tiny_tokens(), most_bytes=0)
    for name in ALONE:
        alone.check(folders[name])
        alone.register(name, folders[name])
    first = alone["krona"].generate(TEXTS, CONFIG).texts
    stream = alone["krona"].stream(TEXTS[0], CONFIG)
    start = next(stream).text
    alone["norms"].generate(TEXTS, CONFIG)
    found = {one.name: one for one in alone.states()}
    assert found["krona"].bytes == 0 < found["norms"].bytes
    # An answer that is being written keeps its network, and the next one reads the folder again.
    assert start + "".join(chunk.text for chunk in stream) == first[0]
    assert alone["krona"].generate(TEXTS, CONFIG).texts == first
    assert {one.name: one.loads for one in alone.states()} == {"krona": 2, "norms": 1, "dept": 0}
    kept = alone["krona"]
    alone.remove("krona")
    with pytest.raises(ConfigError, match="was removed"):
        kept.generate(TEXTS, CONFIG)
    assert fingerprint(base) == before


def test_all_of_them_stay_where_there_is_room(folders: dict[str, Path]) -> None:
    alone = AloneAdapters(tiny_llama(), tiny_tokens(), most_bytes=1 << 30)
    for name in ALONE:
        alone.register(name, folders[name])
    for _ in range(2):
        for name in ALONE:
            alone[name].generate(TEXTS, CONFIG)
    assert {one.loads for one in alone.states()} == {1}
    assert all(one.hits for one in alone.states())
    alone["krona"].close()
    assert alone["krona"].generate(TEXTS, CONFIG).texts


def test_what_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    outside = models_of({}, config=ServingConfig(drive="outside"))
    with pytest.raises(NotGathered, match="KronA cannot be gathered"):
        outside.add("krona", folders["krona"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError):
        models_of({}).add("empty", tmp_path / "empty")
