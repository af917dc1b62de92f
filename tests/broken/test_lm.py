"""Prompts and token ids that a language model cannot take: each engine refuses them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Prompt, TokenPrompt
from adwright.lm.engine.hf_tokens import check_bounds
from adwright.lm.engine.scripted import ScriptedConfig
from adwright.lm.open_model import open_model
from adwright.lm.torch_engine.config import TorchConfig
from tests.broken.cases import Case, Make, Shop, check, named

#: Each way to ask a model about a prompt, which is the second of two where there are several.
ASKED: dict[str, Callable[[LanguageModel, Prompt], object]] = {
    "generate": lambda model, prompt: model.generate(["fine", prompt]),
    "stream": lambda model, prompt: list(model.stream(prompt)),
    "score": lambda model, prompt: model.score(["fine", prompt], ["a", "b"]),
    "continue": lambda model, prompt: model.score(["fine"], [prompt]),  # type: ignore[list-item]
}


@pytest.fixture(scope="module", params=["scripted", "torch"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LanguageModel, int]]:
    """A model, and the number of tokens that it knows."""
    if request.param == "scripted":
        with closing(open_model(ScriptedConfig())) as opened:
            yield opened, 257
    else:
        pytest.importorskip("transformers", reason="the extra lm is not installed")
        from tests.support.lm.tiny_llama import VOCABULARY, save_tiny

        folder = save_tiny(tmp_path_factory.mktemp("tiny") / "model")
        with closing(open_model(TorchConfig(str(folder), threads=1))) as opened:
            yield opened, VOCABULARY


@pytest.mark.parametrize("ask", ASKED)
def test_tokens_outside_the_vocabulary(
    ask: str, model: tuple[LanguageModel, int], tmp_path: Path, shop: Shop
) -> None:
    opened, size = model
    # The last token is one; those behind it, far away and below zero are none.
    ASKED[ask](opened, TokenPrompt((size - 1, 5)))
    for wrong in (size, 10**9, -1):
        parts = ("no such token", f"value {wrong}", f"its tokens are 0 to {size - 1}")
        case = Case(
            f"{ask} {wrong}",
            lambda *_, wrong=wrong: lambda: ASKED[ask](opened, TokenPrompt((5, wrong))),  # type: ignore[misc]
            ValueInvalidError,
            parts,
        )
        check(case, tmp_path, shop)


def scripted(ask: Callable[[LanguageModel], object]) -> Make:
    """Ask a scripted model."""
    return lambda *_: lambda: ask(open_model(ScriptedConfig()))


PROMPTS = [
    Case(
        "one string for a list",
        scripted(lambda model: model.generate("buy tea")),
        ConfigError,
        ("prompts is one string", "pass a list with the string in it"),
    ),
    Case(
        "half a character",
        scripted(lambda model: model.generate(["fine", "a\ud800"])),
        ValueInvalidError,
        ("row 1", "half a character", "leave out the surrogate at character 1"),
    ),
    Case(
        "an empty grammar",
        lambda *_: lambda: GenerationConfig(grammar=" "),
        ConfigError,
        ("grammar must have a rule: root ::= ...",),
    ),
    Case(
        "too many objects in a schema",
        lambda *_: lambda: check_bounds(GenerationConfig(json_schema={"anyOf": [{}] * 600})),
        ConfigError,
        ("501 objects, at most 500 are taken", "make it smaller"),
    ),
    Case(
        "no continuation",
        scripted(lambda model: model.score(["a", "b"], ["c"])),
        ValueInvalidError,
        ("2 prompts cannot be paired with 1 continuations", "one continuation for each prompt"),
    ),
    Case(
        "empty continuation",
        scripted(lambda model: model.score(["a", "b"], ["c", ""])),
        ValueInvalidError,
        ("row 1", "the continuation is empty", "give it a text"),
    ),
    Case(
        "no reply",
        lambda *_: lambda: ScriptedConfig(()),
        ConfigError,
        ("at least one string", "replies"),
    ),
]


@pytest.mark.parametrize("case", PROMPTS, ids=named)
def test_prompts(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)


@pytest.mark.parametrize("prompt", [[5, 257], [5, 10**9], [-1]])
def test_over_http_only_the_request_is_refused(prompt: list[int]) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    from adwright.lm.engine.scripted import ScriptedModel
    from tests.support.service.scripted_models import app_of
    from tests.support.service.small_shop import running

    with running(app_of(ScriptedModel(ScriptedConfig(("tea",))))) as client:
        body = {"model": "m", "prompt": prompt}
        refused = client.post("/v1/completions", json=body)
        assert refused.status_code == 400, refused.text
        assert set(refused.json()) == {"error"}
        good = client.post("/v1/completions", json={**body, "prompt": [5, 256]})
        assert good.status_code == 200, good.text
