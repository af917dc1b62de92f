"""The small writer: asked briefly, opened from its adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.agent.generate.beam import write_scripts
from adwright.agent.generate.prompts import language_help
from adwright.agent.generate.retrieve import ElementIndex
from adwright.agent.synthesis.tuned_writer import (
    WRITER_ADAPTER,
    WRITER_BEAM,
    ScriptWriter,
    open_tuned_writer,
)
from adwright.core.errors import AssetError
from adwright.lm.engine.generation import Completions, GenerationConfig, Message, Prompt
from adwright.lm.engine.language_model import LanguageModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.shop_document import shop_document

SCRIPT = 'set_text($mail__text, "Hi")\ntap($mail__send)\n'


class Listening(ScriptedModel):
    """Remembers what it was asked."""

    asked: list[Prompt]

    def generate(
        self, prompts: list[Prompt], config: GenerationConfig, **more: object
    ) -> Completions:  # type: ignore[override]
        self.asked = list(prompts)
        return super().generate(prompts, config, **more)  # type: ignore[arg-type]


def test_the_help_is_left_out_and_nothing_else() -> None:
    inner = Listening(ScriptedConfig((SCRIPT,)))
    document = shop_document()
    task = 'Send a mail with text "Hi"'
    retrieved = ElementIndex(document).retrieve(task, WRITER_BEAM.retrieve)
    model: LanguageModel = ScriptWriter(inner)
    found = write_scripts(model, task, document, retrieved, config=WRITER_BEAM)
    assert found.best is not None
    first = inner.asked[0]
    assert isinstance(first, list)
    assert language_help() not in first[0].content
    assert "$mail__send message" in first[0].content
    assert task in first[1].content


def test_it_is_a_model_like_any_other() -> None:
    inner = ScriptedModel(ScriptedConfig((SCRIPT,)))
    model = ScriptWriter(inner)
    assert (model.info, model.vocabulary) == (inner.info, inner.vocabulary)
    assert model.tokens is inner.tokens
    assert model.health() == "ready"
    turns = [Message("system", f"{language_help()}\nElements"), Message("user", "x")]
    assert "".join(one.text for one in model.stream(turns)) == SCRIPT
    assert model.generate(["plain"]).texts[0] == SCRIPT
    assert len(model.score([turns], [SCRIPT]).token_logprobs) == 1
    assert (model.embed(["plain"]) == inner.embed(["plain"])).all()
    model.close()


def test_without_an_adapter_there_is_no_writer(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no adapter"):
        open_tuned_writer(tmp_path / "none")
    assert WRITER_ADAPTER.name == "adapter"
