"""A language model as teacher: new instructions in the form of Self-Instruct, and answers.

    with closing(open_model(HttpConfig("http://...", "gpt-4o"))) as model:
        found = expanded(model, task_named("ads"), load_seeds("ads"), most=100)

Some seeds are shown, and the model is asked for more of the kind (Wang et al., "Self-Instruct", ACL
2023, section 2.2). A new instruction is kept where it has a plausible length, no slot that the task
does not fill, and a ROUGE-L below 0.7 with all that is kept. Any `LanguageModel` can be the
teacher: one in this process, or any server that speaks OpenAI's protocol. How many seeds are shown,
how many are asked for and when it gives up are our choices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import replace

from adwright.authoring.instructions.rows import (
    MOST_ALIKE,
    AuthoringExample,
    SeedInstruction,
    alike,
    drawn,
    slots_of,
    value_slots,
)
from adwright.authoring.tasks import AuthoringTask, PromptBounds, messages_of, read_answer
from adwright.core.config import Count, settings
from adwright.core.errors import AdwrightError, ConfigError
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message
from adwright.metrics.text.agreement import words_of

_SYSTEM = "You write training data for the language model of a shop. Be brief and varied."
_NUMBERED = re.compile(r"^\s*(?:\d{1,3}[.):]|[-*\u2022])\s*(\S.*)$")
_SHORTEST, _LONGEST = 3, 40
_DIGITS = 12
#: Share of letters of an instruction that are those of English.
_LATIN = 0.9


@settings
class TeacherConfig:
    """How a teacher is asked.

    shown: seeds in the prompt. asked: new instructions per prompt. prompts: at most, per task.
    batch: prompts per call. tokens, answer_tokens: of a list of instructions, of one answer.
    temperature, top_p: of instructions; answers are the likeliest ones, which the same model gives
    again. seed: of which seeds are shown, and of the draws.

    Raises ConfigError for a count below 1.
    """

    shown: Count = 6
    asked: Count = 8
    prompts: Count = 40
    batch: Count = 8
    tokens: Count = 400
    answer_tokens: Count = 160
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0


_USUAL = TeacherConfig()


def expanded(
    model: LanguageModel,
    task: AuthoringTask,
    seeds: Sequence[SeedInstruction],
    *,
    most: int,
    config: TeacherConfig = _USUAL,
    refused: MutableMapping[str, int] | None = None,
) -> tuple[SeedInstruction, ...]:
    """At most `most` new instructions of the task, which the model wrote after seeing some seeds.

    The id of each names the model and the hash of its prompt. refused: counts what was not kept, by
    reason. It ends after `config.prompts` prompts, or when a whole call brings nothing new.
    Raises ConfigError without seeds, and what the model raises.
    """
    if not seeds:
        raise ConfigError("a teacher needs seeds to show", where=f"task {task.name}")
    known, found = [one.text for one in seeds], list[SeedInstruction]()
    counts = Counter[str]() if refused is None else refused
    for first in range(0, config.prompts, config.batch):
        if len(found) >= most:
            break
        numbers = range(first, min(first + config.batch, config.prompts))
        prompts = [_prompt(task, seeds, config, number) for number in numbers]
        texts = model.generate(prompts, _sampled(config, first)).texts
        before = len(found)
        for prompt, text in zip(prompts, texts, strict=True):
            origin = content_hash([turn.content for turn in prompt])[:_DIGITS]
            for line in candidates(text):
                reason = _refusal(line, task, known)
                if reason or len(found) >= most:
                    counts[reason or "enough"] = counts.get(reason or "enough", 0) + 1
                    continue
                known.append(line)
                name = f"{task.name}-{model.info.name}-{origin}-{len(found) + 1:04d}"
                found.append(
                    SeedInstruction(name, line, slots_of(line), task.name, "as the model's output")
                )
        if len(found) == before:
            break
    return tuple(found)


def answered(
    model: LanguageModel,
    examples: Sequence[AuthoringExample],
    *,
    config: TeacherConfig = _USUAL,
    voice: str = "",
    bounds: PromptBounds | None = None,
    refused: MutableMapping[str, int] | None = None,
) -> Iterator[AuthoringExample]:
    """The examples with the model's answers, in order; those that it could not answer are left out.

    refused: counts, by reason, answers that are not of their task's form and requests that the
    engine refused; a batch that fails is asked again one by one, so that one request costs no other
    its answer. Raises what the model raised where it answered nothing at all.
    """
    counts = Counter[str]() if refused is None else refused
    shown = PromptBounds() if bounds is None else bounds
    given, failed = 0, None
    for first in range(0, len(examples), config.batch):
        batch = examples[first : first + config.batch]
        prompts = [messages_of(one.request, voice=voice, bounds=shown) for one in batch]
        texts, error = _texts(model, prompts, config)
        failed = failed or error
        for example, text in zip(batch, texts, strict=True):
            if text is None:
                counts["the engine refused"] = counts.get("the engine refused", 0) + 1
                continue
            given += 1
            answer = read_answer(example.request, text, bounds=shown)
            if not answer.valid:
                counts[answer.reason] = counts.get(answer.reason, 0) + 1
                continue
            yield replace(example, answer=answer.text, teacher=model.info.name)
    if failed is not None and not given:
        raise failed


def candidates(text: str) -> list[str]:
    """The numbered or marked lines of a text, without number, quotes and doubled blanks.

    >>> candidates("Sure!\\n1. Write  an ad.\\n2) \\"Praise it.\\"\\n")
    ['Write an ad.', 'Praise it.']
    """
    lines = [_NUMBERED.match(line) for line in text.splitlines()]
    found = [" ".join(one[1].split()).strip('"\u201c\u201d') for one in lines if one]
    return [line for line in found if line]


def _texts(
    model: LanguageModel, prompts: Sequence[Sequence[Message]], config: TeacherConfig
) -> tuple[list[str | None], AdwrightError | None]:
    """The texts of a batch, and the error of those without one."""
    asked = GenerationConfig(max_tokens=config.answer_tokens, seed=config.seed)
    try:
        return list(model.generate(prompts, asked).texts), None
    except AdwrightError as error:
        failed = error
    if len(prompts) == 1:
        return [None], failed
    each = [_texts(model, [prompt], config) for prompt in prompts]
    return [text for texts, _ in each for text in texts], failed


def _prompt(
    task: AuthoringTask, seeds: Sequence[SeedInstruction], config: TeacherConfig, number: int
) -> tuple[Message, ...]:
    order = sorted(seeds, key=lambda one: drawn(config.seed, "shown", str(number), one.id))
    lines = [f"{at}. {one.text}" for at, one in enumerate(order[: config.shown], start=1)]
    slots = sorted(value_slots(task))
    may = f" You may put {' or '.join(f'{{{name}}}' for name in slots)} where such a text belongs."
    asked = (
        f"Task: {task.title}. These instructions ask for it, each in its own way:\n"
        + "\n".join(lines)
        + f"\n\nWrite {config.asked} more, one a line, numbered from {len(lines) + 1}. Each must "
        f"have other words and another form than those above.{may if slots else ''}"
    )
    return (Message("system", _SYSTEM), Message("user", asked))


def _sampled(config: TeacherConfig, first: int) -> GenerationConfig:
    return GenerationConfig(
        max_tokens=config.tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed + first,
    )


def _refusal(text: str, task: AuthoringTask, known: Sequence[str]) -> str:
    """Why an instruction is not kept; empty where it is."""
    words = words_of(text)
    letters = [sign for sign in text if sign.isalpha()]
    if not _SHORTEST <= len(words) <= _LONGEST:
        return "length"
    if "{" in re.sub(r"\{\w+\}", "", text) or not set(slots_of(text)) <= value_slots(task):
        return "slots"
    if "<|" in text or "[INST]" in text:
        return "form"
    if sum(sign.isascii() for sign in letters) < _LATIN * len(letters):
        return "language"
    return "alike" if alike(text, known) >= MOST_ALIKE else ""
