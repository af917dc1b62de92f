"""Let a model say tasks in other words, and keep only what still says all values.

    words = reword_tasks(model, ["Delete the offer \\"Spring\\"."], [frozenset({"Spring"})])

Any engine of `lm` can be asked. A model may drop a value or invent one: a wording is kept where the
same values are read out of it as out of the task, and only these.
"""

from __future__ import annotations

from collections.abc import Sequence

from adwright.agent.generate.task_values import LONGEST_TASK, read_task
from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.lm.engine.language_model import LanguageModel

__all__ = ["keeps_values", "reword_tasks", "rewording_messages"]

_ASKED = (
    "Say the same request to a colleague in other words. Keep every name, number and date exactly "
    "as it is, in quotation marks where it has them. One or two sentences, nothing else."
)


def reword_tasks(
    model: LanguageModel, tasks: Sequence[str], *, seed: int = 0, temperature: float = 0.8
) -> tuple[str | None, ...]:
    """For each task another wording; None where the model's words lost a value, added one, or are
    the task as it was. Raises what the model raises."""
    if not tasks:
        return ()
    config = GenerationConfig(max_tokens=120, temperature=temperature, seed=seed)
    answers = model.generate([rewording_messages(one) for one in tasks], config).texts
    return tuple(_kept(task, answer) for task, answer in zip(tasks, answers, strict=True))


def rewording_messages(task: str) -> list[Message]:
    """What a model is asked."""
    return [Message("system", _ASKED), Message("user", task)]


def keeps_values(task: str, other: str) -> bool:
    """Whether two wordings have the same values."""
    try:
        return set(read_task(task).values) == set(read_task(other).values)
    except AdwrightError:
        return False


def _kept(task: str, answer: str) -> str | None:
    plain = " ".join(answer.split())
    same = plain.casefold().rstrip(".") == " ".join(task.split()).casefold().rstrip(".")
    if not plain or len(plain) > LONGEST_TASK or same or not keeps_values(task, plain):
        return None
    return plain
