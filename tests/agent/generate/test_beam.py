"""Scripts of a model, checked before anything is tapped."""

from __future__ import annotations

import pytest

from adwright.agent.generate.retrieve import ElementIndex
from adwright.agent.generate.writing import BeamConfig, BeamFound, rank_scripts, write_scripts
from adwright.agent.language.script import print_script
from adwright.agent.language.statements import CheckRules
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Completions, GenerationConfig, Prompt
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
TASK = 'Send a mail to "ann" with text "Hi"'
GOOD = 'set_text($mail__to, "ann")\nset_text($mail__text, "Hi")\ntap($mail__send)\n'
POOR = "tap($mail__send)\n"
BAD = "tap($mail__sent)\n"


class Listening(ScriptedModel):
    """Remembers what it was asked."""

    def __init__(self, config: ScriptedConfig) -> None:
        super().__init__(config)
        self.asked: list[tuple[int, GenerationConfig]] = []

    def generate(
        self, prompts: list[Prompt], config: GenerationConfig, **more: object
    ) -> Completions:  # type: ignore[override]
        self.asked.append((len(prompts), config))
        return super().generate(prompts, config, **more)  # type: ignore[arg-type]


def write(*replies: str, **settings: object) -> tuple[BeamFound, Listening]:
    model = Listening(ScriptedConfig(replies))
    config = BeamConfig(**settings)  # type: ignore[arg-type]
    retrieved = ElementIndex(DOCUMENT).retrieve(TASK)
    return write_scripts(model, TASK, DOCUMENT, retrieved, config=config), model


def text(found: BeamFound) -> str:
    return "" if found.best is None else print_script(found.best.script)


def test_the_best_of_several_passes_and_has_the_values() -> None:
    found, model = write(BAD, POOR, GOOD, GOOD)
    assert text(found) == GOOD
    assert found.repairs == 0
    assert [one.checked is not None for one in found.scripts] == [True, False, False]
    assert {one.what for one in found.scripts[2].problems} == {
        "the task's 'ann' is not used",
        "the task's 'Hi' is not used",
    }
    assert [(number, config.temperature) for number, config in model.asked] == [(1, 0.0), (3, 0.7)]
    assert found.tokens_in > 0
    assert found.tokens_out == len((BAD + POOR + GOOD + GOOD).encode()) + 4  # and four ends


def test_a_refused_script_is_mended_twice_at_most() -> None:
    found, model = write(BAD, GOOD, scripts=1)
    assert (text(found), found.repairs) == (GOOD, 1)
    found, model = write(BAD, scripts=1)
    assert (found.best, found.repairs) == (None, 2)
    assert found.scripts[0].problems[0].code == "unknown_element"
    assert len(model.asked) == 3
    found, _ = write(BAD, GOOD, scripts=1, repairs=0)
    assert found.best is None


def test_answers_in_fences_are_read_and_empty_ones_refused() -> None:
    found, _ = write(f"```python\n{GOOD}```\nThat is it.", scripts=1)
    assert text(found) == GOOD
    found, _ = write("# nothing\n", scripts=1, repairs=0)
    assert found.scripts[0].problems[0].what == "the script is empty"


@pytest.mark.parametrize("constrained", [True, False])
def test_decoding_is_held_to_the_elements(constrained: bool) -> None:
    _, model = write(GOOD, constrained=constrained)
    grammar = model.asked[0][1].grammar
    assert (grammar is not None) == constrained
    if grammar:
        assert "$mail__send" in grammar
        assert '"\\"ann\\""' in grammar
    _, model = write(GOOD, only_values=False)
    assert '"\\"ann\\""' not in (model.asked[0][1].grammar or "")


def test_a_server_without_grammars_is_asked_without_from_then_on() -> None:
    class Strict(Listening):
        def generate(
            self, prompts: list[Prompt], config: GenerationConfig, **more: object
        ) -> Completions:  # type: ignore[override]
            found = super().generate(prompts, config, **more)
            if config.grammar is not None:
                raise ConfigError("the endpoint answered 400: unknown field structured_outputs")
            return found

    model = Strict(ScriptedConfig((GOOD,)))
    found = write_scripts(model, TASK, DOCUMENT, ElementIndex(DOCUMENT).retrieve(TASK))
    assert text(found) == GOOD
    grammars = [config.grammar is not None for _, config in model.asked]
    assert grammars == [True, False, False]


def test_rules_hold_for_models_too() -> None:
    model = ScriptedModel(ScriptedConfig((GOOD,)))
    retrieved = ElementIndex(DOCUMENT).retrieve(TASK)
    rules = CheckRules(forbidden=("message",))
    found = write_scripts(model, TASK, DOCUMENT, retrieved, rules=rules)
    assert found.best is None


def test_fewer_writes_rank_before_more() -> None:
    more = GOOD.replace("tap", "for i in range(3):\n    tap")
    found, _ = write(more, GOOD, scripts=2)
    assert text(found) == GOOD
    assert all(one.checked for one in found.scripts)
    assert rank_scripts(found.scripts) == found.scripts


def test_settings_are_checked() -> None:
    for wrong in ({"scripts": 0}, {"repairs": 3}, {"repairs": -1}):
        with pytest.raises(ConfigError):
            BeamConfig(**wrong)
