"""Other words of a model, kept only where they say the same values."""

from __future__ import annotations

from adwright.agent.synthesis.rewording import keeps_values, reword_tasks, rewording_messages
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel

TASK = 'Delete the offer "Spring".'


def reworded(*answers: str, tasks: int = 1) -> tuple[str | None, ...]:
    return reword_tasks(ScriptedModel(ScriptedConfig(answers)), [TASK] * tasks)


def test_other_words_with_the_same_values_are_kept() -> None:
    assert reworded('We do not need the offer "Spring" any more.\n') == (
        'We do not need the offer "Spring" any more.',
    )


def test_lost_added_and_unchanged_words_are_not() -> None:
    assert reworded('Delete the offer "Autumn".') == (None,)
    assert reworded('Delete the offers "Spring" and "Autumn".') == (None,)
    assert reworded("Delete it.") == (None,)
    assert reworded('delete the offer "spring"') == (None,)
    assert reworded("\n") == (None,)


def test_each_task_has_its_answer() -> None:
    assert reworded('Drop the offer "Spring".', "No.", tasks=2) == (
        'Drop the offer "Spring".',
        None,
    )
    assert reworded("x", tasks=0) == ()
    assert rewording_messages(TASK)[1].content == TASK
    assert not keeps_values(TASK, "")
