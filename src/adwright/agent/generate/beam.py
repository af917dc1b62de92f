"""Several scripts of a model, all checked before anything is tapped, the best first.

    found = write_scripts(model, 'Set the discount of "Spring" to 25', document)
    found.best                   # a CheckedScript, or None
    found.tokens_in, found.tokens_out

The first answer is the likeliest, the others are drawn. Answers are decoded by the grammar of the
task's elements where the engine can do that. Refused is what does not pass the check, and what is
not of the task (`task_fit`): a number that it does not have, a value that is left out, a question
without an answer. A script that is refused is mended at most twice, from the codes of its problems.
Which is best: one that is not refused, then that with fewer writes, then the shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.generate.prompts import repair_messages, script_messages
from adwright.agent.generate.retrieve import RetrieveConfig, RetrievedElements
from adwright.agent.generate.script_grammar import GrammarChoice, script_grammar
from adwright.agent.generate.task_fit import task_numbers, why_unfit
from adwright.agent.generate.task_intent import TaskIntent, read_intent
from adwright.agent.generate.task_values import read_task
from adwright.agent.language.checker import CheckedScript, CheckRules, check_script
from adwright.agent.language.parser import read_script
from adwright.agent.language.printer import print_script
from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message

__all__ = [
    "BeamConfig",
    "BeamFound",
    "WrittenScript",
    "rank_scripts",
    "write_scripts",
]


@settings
class BeamConfig:
    """scripts: answers to the first prompt. repairs: times that the best refused one is mended.
    constrained: decode by the grammar; only_values: texts and numbers are the task's. max_tokens,
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
        if self.scripts < 1 or not 0 <= self.repairs <= 2:
            raise ConfigError(
                "scripts is 1 or more, repairs from 0 to 2",
                where="BeamConfig",
                hint="more repairs than two have not helped anybody",
            )


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
    beam = _Beam(model, read_intent(read_task(task)), document, retrieved.elements, config, rules)
    return beam.search()


class _Beam:
    def __init__(
        self,
        model: LanguageModel,
        intent: TaskIntent,
        document: AppDocument,
        elements: Sequence[Element],
        config: BeamConfig,
        rules: CheckRules,
    ) -> None:
        self._model = model
        self._intent = intent
        self._document = document
        self._config = config
        self._rules = rules
        self._messages = script_messages(intent.task.text, elements, document)
        self._in = self._out = 0
        choice = GrammarChoice()
        if config.only_values:
            choice = GrammarChoice(intent.task.values, task_numbers(intent.task) or None)
        self._grammar = script_grammar(elements, choice) if config.constrained else None

    def search(self) -> BeamFound:
        found = [self._checked(one) for one in self._answers(self._messages, self._config.scripts)]
        ranked = rank_scripts(found)
        repairs = 0
        while ranked[0].checked is None and repairs < self._config.repairs:
            repairs += 1
            refused = ranked[0]
            messages = repair_messages(self._messages, refused.text, refused.problems)
            answers = self._answers(messages, 1, seed=repairs)
            ranked = rank_scripts([*map(self._checked, answers), *ranked])
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
            try:
                answer = self._model.generate(prompts, asked)
            except ConfigError:
                if self._grammar is None:
                    raise
                # Many servers know no grammars; scripts are checked in any case.
                self._grammar = None
                answer = self._model.generate(prompts, replace(asked, grammar=None))
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
        unfit = why_unfit(self._intent, checked, self._document)
        return WrittenScript(print_script(script), None if unfit else checked, unfit)


def rank_scripts(scripts: Sequence[WrittenScript]) -> tuple[WrittenScript, ...]:
    """Equal ones once, best first; of those that are as good, that which came first."""
    once = list({one.text: one for one in reversed(scripts)}.values())[::-1]

    def merit(one: WrittenScript) -> tuple[int, int, int]:
        if one.checked is None:
            return (1, len(one.problems), 0)
        return (0, one.checked.most_writes, len(one.text))

    return tuple(sorted(once, key=merit))


def _bare(text: str) -> str:
    """An answer without the fence that models like to put around code."""
    lines = text.strip("\n").split("\n")
    if lines and lines[0].startswith("```"):
        lines = lines[1:]
        ends = [n for n, line in enumerate(lines) if line.startswith("```")]
        lines = lines[: ends[0]] if ends else lines
    return "\n".join(lines) + "\n"
