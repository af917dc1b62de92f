"""Several scripts of a model, all checked before anything is tapped, the best first.

    found = write_scripts(model, 'Set the discount of "Spring" to 25', document)
    found.best                   # a CheckedScript, or None
    found.tokens_in, found.tokens_out

The first answer is the likeliest, the others are drawn. Answers are decoded by the grammar of the
task's elements where the engine can do that. One that types a number that the task does not have
is refused. A script that is refused is mended at most twice, from the codes of its problems. Which
is best: one that passes the check, then that with more of the task's values, then with fewer
writes, then the shorter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.generate.prompts import repair_messages, script_messages
from adwright.agent.generate.retrieve import RetrieveConfig, RetrievedElements
from adwright.agent.generate.script_grammar import GrammarChoice, script_grammar
from adwright.agent.generate.task_values import TaskText, read_task
from adwright.agent.language.checker import CheckedScript, CheckRules, check_script
from adwright.agent.language.parser import read_script
from adwright.agent.language.printer import print_script
from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.core.config import check_literals
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.lm.engine.language_model import LanguageModel

__all__ = [
    "BeamConfig",
    "BeamFound",
    "WrittenScript",
    "rank_scripts",
    "strange_numbers",
    "write_scripts",
]


@dataclass(frozen=True)
class BeamConfig:
    """scripts: answers to the first prompt. repairs: times that the best refused one is mended.
    constrained: decode by the grammar; only_values: texts come from the task alone. max_tokens,
    temperature, seed: of the drawn answers."""

    scripts: int = 4
    repairs: int = 2
    constrained: bool = True
    only_values: bool = True
    max_tokens: int = 300
    temperature: float = 0.7
    seed: int = 0
    retrieve: RetrieveConfig = field(default_factory=RetrieveConfig)

    def __post_init__(self) -> None:
        check_literals(self)
        if self.scripts < 1 or not 0 <= self.repairs <= 2:
            raise ConfigError(
                "scripts is 1 or more, repairs from 0 to 2",
                where="BeamConfig",
                hint="more repairs than two have not helped anybody",
            )


_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TYPED = re.compile(r"set_text\(.*, -?(\d+(?:\.\d+)?)\)")


@dataclass(frozen=True)
class WrittenScript:
    """An answer of a model. checked: None where it is refused, and then `problems` say why."""

    text: str
    checked: CheckedScript | None
    problems: tuple[ScriptProblem, ...] = ()


@dataclass(frozen=True)
class BeamFound:
    """All answers, best first. tokens_in, tokens_out: of all calls. repairs: that were made."""

    scripts: tuple[WrittenScript, ...]
    tokens_in: int
    tokens_out: int
    repairs: int

    @property
    def best(self) -> CheckedScript | None:
        """The best that passes; None where none does."""
        return self.scripts[0].checked if self.scripts else None


def write_scripts(
    model: LanguageModel,
    task: str,
    document: AppDocument,
    retrieved: RetrievedElements,
    *,
    config: BeamConfig | None = None,
    rules: CheckRules | None = None,
) -> BeamFound:
    """Scripts for a task, written by a model and checked.

    Raises what the model raises; ConfigError for a task that is none.
    """
    config, rules = config or BeamConfig(), rules or CheckRules()
    beam = _Beam(model, read_task(task), document, retrieved.elements, config, rules)
    return beam.search()


class _Beam:
    def __init__(
        self,
        model: LanguageModel,
        task: TaskText,
        document: AppDocument,
        elements: Sequence[Element],
        config: BeamConfig,
        rules: CheckRules,
    ) -> None:
        self._model = model
        self._task = task
        self._document = document
        self._config = config
        self._rules = rules
        self._messages = script_messages(task.text, elements, document)
        self._in = self._out = 0
        texts = task.values if config.only_values else None
        choice = GrammarChoice(texts=texts)
        self._grammar = script_grammar(elements, choice) if config.constrained else None

    def search(self) -> BeamFound:
        found = [self._checked(one) for one in self._answers(self._messages, self._config.scripts)]
        ranked = rank_scripts(found, self._task)
        repairs = 0
        while ranked[0].checked is None and repairs < self._config.repairs:
            repairs += 1
            refused = ranked[0]
            messages = repair_messages(self._messages, refused.text, refused.problems)
            answers = self._answers(messages, 1, seed=repairs)
            ranked = rank_scripts([*map(self._checked, answers), *ranked], self._task)
        return BeamFound(ranked, self._in, self._out, repairs)

    def _answers(self, messages: list[Message], count: int, *, seed: int = 0) -> list[str]:
        config = self._config
        calls = [(1, 0.0)] if count == 1 else [(1, 0.0), (count - 1, config.temperature)]
        texts: list[str] = []
        for number, warmth in calls:
            asked = GenerationConfig(
                max_tokens=config.max_tokens,
                temperature=warmth,
                seed=config.seed + 1_000 * seed,
                grammar=self._grammar,
            )
            prompts = [messages] * number
            answer = self._model.generate(prompts, asked)
            texts += answer.texts
            self._in += answer.usage.prompt_tokens
            self._out += answer.usage.completion_tokens
        return texts

    def _checked(self, text: str) -> WrittenScript:
        plain = _bare(text)
        try:
            script = read_script(plain)
            if not script.body:
                empty = ScriptProblem("expected", "the script is empty", 1, 1, "write a statement")
                return WrittenScript(plain, None, (empty,))
            checked = check_script(script, self._document, self._rules)
        except ScriptError as error:
            return WrittenScript(plain, None, error.problems)
        strange = strange_numbers(print_script(script), self._task.text)
        if strange:
            told = ScriptProblem(
                "expected", f"{strange[0]} is no number of the task", 1, 1, "copy its numbers"
            )
            return WrittenScript(plain, None, (told,))
        return WrittenScript(print_script(script), checked)


def strange_numbers(script: str, task: str) -> tuple[str, ...]:
    """Numbers that a script types and the task does not have: small models drop digits. Of a task
    without figures none is strange, as it may say them in words."""
    known = {Decimal(one) for one in _NUMBER.findall(re.sub(r"(?<=\d),(?=\d{3}\b)", "", task))}
    typed = _TYPED.findall(script)
    return tuple(one for one in typed if known and Decimal(one) not in known)


def rank_scripts(scripts: Sequence[WrittenScript], task: TaskText) -> tuple[WrittenScript, ...]:
    """Equal ones once, best first; of those that are as good, that which came first."""
    once = list({one.text: one for one in reversed(scripts)}.values())[::-1]

    def merit(one: WrittenScript) -> tuple[int, int, int, int]:
        if one.checked is None:
            return (1, len(one.problems), 0, 0)
        missing = sum(value not in one.text for value in task.values)
        return (0, missing, one.checked.most_writes, len(one.text))

    return tuple(sorted(once, key=merit))


def _bare(text: str) -> str:
    """An answer without the fence that models like to put around code."""
    lines = text.strip("\n").split("\n")
    if lines and lines[0].startswith("```"):
        lines = lines[1:]
        ends = [n for n, line in enumerate(lines) if line.startswith("```")]
        lines = lines[: ends[0]] if ends else lines
    return "\n".join(lines) + "\n"
