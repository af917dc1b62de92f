"""A task read a second time: what a script does otherwise than its words."""

from __future__ import annotations

import pytest

from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.ladder import ScriptLadder
from adwright.agent.generate.reading import TaskReading
from adwright.agent.generate.task import read_intent, read_task
from adwright.agent.generate.writing import BeamConfig, write_scripts
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.lm.engine.generation import Completions, GenerationConfig, Prompt
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
FORMS = DocumentForms(DOCUMENT)
OPEN = 'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
SAVE = "tap($offer_edit__save)\n"
TASK = 'Set the discount of "Spring" to 25'
RIGHT = f"{OPEN}set_text($offer_edit__share, 25)\n{SAVE}"
AUTUMN = RIGHT.replace("Spring", "Autumn")


def doubts(task: str, script: str) -> list[str]:
    reading = TaskReading(read_intent(read_task(task), FORMS.kinds), FORMS)
    return list(reading.doubts(check_script(read_script(script), DOCUMENT)))


@pytest.mark.parametrize(
    ("task", "script"),
    [
        (TASK, RIGHT),
        ('Rename "Spring" to "May"', f'{OPEN}set_text($offer_edit__name, "May")\n{SAVE}'),
        ('"Spring" is not active any more', f"{OPEN}choose($offer_edit__active, false)\n{SAVE}"),
        ('Close "Spring": status Closed', f'{OPEN}choose($offer_edit__status, "Closed")\n{SAVE}'),
        ('Delete "Spring"', f"{OPEN}tap($offer_edit__delete)\ntap($offer_delete__confirm)\n"),
        ("What is the total of the budget?", "answer(get_text($budget__total))\n"),
    ],
)
def test_a_script_of_the_task_is_in_no_doubt(task: str, script: str) -> None:
    assert doubts(task, script) == []


@pytest.mark.parametrize(
    ("task", "script", "what"),
    [
        (TASK, AUTUMN, "looks for 'Autumn', which the task does not name"),
        (
            'Set the name of "Spring" to "5"',
            f"{OPEN}set_text($offer_edit__share, 5)\n{SAVE}",
            "puts '5' into Discount, and not Name",
        ),
        (
            'Rename "Spring" to "May"',
            f'{OPEN}set_text($offer_edit__name, "June")\n{SAVE}',
            "puts 'June' into Name, which the task does not say",
        ),
        (
            'Switch "Active" of "Spring" off',
            f"{OPEN}choose($offer_edit__active, true)\n{SAVE}",
            "switches Active on, which the task does not say",
        ),
        (TASK, f"{OPEN}{SAVE}", "sends the form of Save with nothing changed in it"),
        (TASK, f"{OPEN}set_text($offer_edit__share, 25)\n", "what is typed is never sent"),
        (
            TASK,
            f"{OPEN}set_text($offer_edit__share, 2)\nset_text($offer_edit__share, 25)\n{SAVE}",
            "fills Discount twice",
        ),
        (
            TASK,
            f"{OPEN}set_text($offer_edit__share, 25)\nchoose($offer_edit__active, true)\n{SAVE}",
            "sets Active, of which the task says nothing",
        ),
    ],
)
def test_what_the_task_does_not_say_is_in_doubt(task: str, script: str, what: str) -> None:
    assert what in doubts(task, script)


class Writes(ScriptedModel):
    """Remembers what it was told."""

    def __init__(self, *scripts: str) -> None:
        super().__init__(ScriptedConfig(scripts))
        self.told: list[str] = []

    def generate(
        self, prompts: list[Prompt], config: GenerationConfig, **more: object
    ) -> Completions:  # type: ignore[override]
        self.told.append(str(prompts[0]))
        return super().generate(prompts, config, **more)  # type: ignore[arg-type]


ONE = BeamConfig(scripts=1, constrained=False, only_values=False, whole=100_000)


def test_a_model_is_told_what_is_in_doubt_and_writes_it_again() -> None:
    model = Writes(f"{OPEN}set_text($offer_edit__share, 25)\n", RIGHT)
    found = write_scripts(model, TASK, DOCUMENT, None, config=ONE)
    assert "what is typed is never sent" in model.told[1]
    assert found.scripts[0].text == RIGHT
    assert not found.scripts[0].doubts


def test_what_it_writes_twice_is_run_with_its_doubt() -> None:
    wrong = f"{RIGHT[: -len(SAVE)]}choose($offer_edit__active, true)\n{SAVE}"
    model = Writes(wrong, wrong)
    found = write_scripts(model, TASK, DOCUMENT, None, config=ONE)
    assert len(model.told) == 2
    assert found.scripts[0].doubts == ("sets Active, of which the task says nothing",)


def test_plans_are_read_a_second_time_too() -> None:
    assert ScriptLadder(DOCUMENT).script(TASK).doubts == ()
