"""The small writer: asked briefly, opened from its adapter."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from adwright.agent.generate.retrieve import ElementIndex
from adwright.agent.generate.writing import (
    WRITER_ADAPTER,
    WRITER_BEAM,
    language_help,
    open_tuned_writer,
    write_scripts,
)
from adwright.core.errors import AssetError
from adwright.lm.engine.generation import (
    Completions,
    GenerationConfig,
    Message,
    Prompt,
)
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
    found = write_scripts(inner, task, document, retrieved, config=WRITER_BEAM)
    assert found.best is not None
    first = inner.asked[0]
    assert isinstance(first, list)
    assert language_help() not in first[0].content
    assert "$mail__send message" in first[0].content
    assert task in first[1].content


def test_it_is_its_base_with_the_adapter(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from adwright.tuning.reparameterised.lora import LoRA
    from tests.support.lm.adapter_engine import alone, saved_parts
    from tests.support.lm.tiny_llama import save_tiny

    base = save_tiny(tmp_path / "base")
    folders = saved_parts(tmp_path / "parts", {"writer": LoRA(rank=3)})
    brief = [Message("system", "Elements"), Message("user", "x")]
    with closing(open_tuned_writer(folders["writer"], model=str(base), threads=1)) as model:
        said = model.score([brief], [SCRIPT]).token_logprobs[0]
    wanted = alone("writer", folders).score([brief], [SCRIPT]).token_logprobs[0]
    plain = alone("base", folders).score([brief], [SCRIPT]).token_logprobs[0]
    assert abs(said - wanted).max() < 0.1  # it computes in bfloat16
    assert abs(said - plain).max() > 0.5


def test_without_an_adapter_there_is_no_writer(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no adapter"):
        open_tuned_writer(tmp_path / "none")
    assert WRITER_ADAPTER.name == "agent_writer"
