"""Examples of a catalogue: what its sellers wrote, and texts by plan of its facts.

    examples_of(table, ("descriptions", "ads"), extra, seed=7)

Categories, reasons to buy, descriptions and attributes are people's. Ads, titles and answers are
put together of a product's facts as `plan` says them, without a model that chooses: what they teach
is the form of a task and to keep to the facts, not style. `answered` puts a model's in their place.
All choices follow from the seed and the product.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

from adwright.authoring.checks.limits import CheckConfig
from adwright.authoring.checks.verdict import usable
from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.plan.planning import PlannedRow, Planner, TextKind
from adwright.authoring.tasks import (
    AuthoringRequest,
    Product,
    PromptBounds,
    harmless,
    messages_of,
    pairs_text,
    read_answer,
    task_named,
)
from adwright.authoring.writer.products import ProductTable
from adwright.core.config import read_toml
from adwright.core.draws import chosen, share
from adwright.core.errors import AdwrightError, ConfigError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message

#: What wrote the answers that no person did.
BY_PLAN = "plan"
#: A label from so many products on; a description an answer from so many characters on.
_LEAST_PRODUCTS, _SHORTEST = 20, 40
#: Characters of an ad, and of another text.
_AD, _LONG = 125, 200
_BATCH, _TOKENS = 8, 160
_WORD = re.compile(r"[^\W_]+(?:[.,'/-][^\W_]+)*")
_NUMBER = re.compile(r"\d[\d.,/x-]*")
#: Letters of a word that a customer would search, and words of a query.
_SEARCHED = 3
_QUERY_WORDS = (2, 3)
#: Words after which something is missing.
_OPEN = frozenset(("in", "with", "for", "and", "of", "by", "to"))
_VALUE, _TITLE = 120, 200


@dataclass(frozen=True)
class ExtraColumns:
    """Columns of a table beside those of a product; "" for none. cluster: rows of the same product
    in other words. query: what was searched. intention: why a customer buys it."""

    cluster: str = ""
    query: str = ""
    intention: str = ""


def examples_of(
    table: ProductTable,
    tasks: Collection[str],
    extra: ExtraColumns,
    *,
    seed: int = 0,
    skipped: Counter[str] | None = None,
) -> Iterator[AuthoringExample]:
    """Those of each task, product by product. Raises ConfigError for a column that there is not."""
    counts = Counter[str]() if skipped is None else skipped
    columns = {name: _column(table, name) for name in (extra.cluster, extra.query, extra.intention)}
    source = table.path.stem
    cluster_of, query_of_row = columns[extra.cluster], columns[extra.query]
    reasons = columns[extra.intention]
    labels = _labels([one.category for one in table.products])
    whys = _labels([reasons[table.rows[one.id]] for one in table.products] if reasons else [])
    planner = Planner(None)
    for product in table.products:
        row = table.rows[product.id]
        own = cluster_of[row] if cluster_of else ""
        cluster = f"{source}-{own or _even(product.title)}"
        made = partial(_example, {"classify": labels, "intent": whys}, (cluster, source))
        if "classify" in tasks and len(labels) > 1:
            if product.category in labels:
                yield made("classify", product, product.category)
            else:
                counts["a rare category"] += 1
        why = reasons[row] if reasons else ""
        if "intent" in tasks and why in whys:
            yield made("intent", product, why, behaviour=f"bought {product.title}")
        if "descriptions" in tasks and len(product.description) >= _SHORTEST:
            yield made("descriptions", replace(product, description=""), product.description)
        if "attributes" in tasks:
            low = product.title.casefold()
            pairs = tuple(one for one in product.attributes if one[1].casefold() in low)
            if pairs:
                yield made("attributes", replace(product, attributes=()), pairs_text(pairs))
        query = query_of(product, query_of_row[row] if query_of_row else "", seed=seed)
        if "titles" in tasks and query:
            title = title_for(harmless(product.title, _TITLE), query)
            yield made("titles", product, title, teacher=BY_PLAN, query=query)
        for task, kind, most, values in _wanted(product, tasks, seed):
            text = _planned(planner, product, task, kind, most, values)
            if text:
                yield made(task, product, text, teacher=BY_PLAN, **values)


def _example(
    labels: Mapping[str, tuple[str, ...]],
    whose: tuple[str, str],
    task: str,
    product: Product,
    answer: str,
    *,
    teacher: str = "data",
    **values: str,
) -> AuthoringExample:
    """labels: those that a task chooses from. whose: cluster and source."""
    request = AuthoringRequest(
        task_named(task), product, tuple(values.items()), labels.get(task, ())
    )
    return AuthoringExample(request, answer, *whose, teacher)


def _wanted(
    product: Product, tasks: Collection[str], seed: int
) -> Iterator[tuple[str, TextKind, int, dict[str, str]]]:
    """What is to be written by plan: task, kind, characters and values of its request."""
    asks = _asks()
    if "ads" in tasks:
        # A third without an occasion, a third without an audience: all pairs of parties occur.
        values = {
            name: chosen(asks[f"{name}s"], seed, product.id, name, "which")
            for name in ("occasion", "audience")
            if share(seed, product.id, name) < 2 / 3
        }
        yield "ads", "ad", _AD, values
    if "answers" in tasks:
        known = [name.casefold() for name, value in product.attributes if value.strip()]
        known += [name for name in ("brand", "price") if getattr(product, name).strip()]
        unknown = [one for one in asks["unknown"] if not any(one in name for name in known)]
        about = chosen([*known, *unknown[:1]], seed, product.id, "question")
        asked = chosen(asks["questions"], seed, product.id, "asked").format(name=about)
        yield "answers", "answer", _LONG, {"question": asked}


def _planned(
    planner: Planner, product: Product, task: str, kind: TextKind, most: int, values: dict[str, str]
) -> str:
    request = AuthoringRequest(task_named(task), product, tuple(values.items()))
    config = CheckConfig()

    def fits(text: str) -> bool:
        return not usable(text, request, config, sentences=True)

    (found,) = planner.write([PlannedRow(request, kind, most, fits)])
    return found.text


@cache
def _asks() -> dict[str, list[str]]:
    return read_toml(Path(__file__).with_name("asks.toml"))


def _column(table: ProductTable, name: str) -> list[str]:
    """The texts of a column by row; none where none is named."""
    if not name:
        return []
    if name not in table.frame.columns:
        raise ConfigError(
            f"the table has no column {name!r}",
            where=str(table.path),
            hint=f"it has {', '.join(table.frame.columns[:20])}",
        )
    return [str(one or "").strip() for one in table.frame[name]]


def _labels(values: Sequence[str]) -> tuple[str, ...]:
    counts = Counter(values)
    return tuple(sorted(one for one, n in counts.items() if one and n >= _LEAST_PRODUCTS))


def _even(text: str) -> str:
    """Letters and digits in small letters: what reads the same is one product."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


# --------------------------------------------------------------------------------------------------
# Titles for a query.


def query_of(product: Product, query: str = "", *, seed: int = 0) -> str:
    """What a customer may have searched: a query that is known, or two or three words that stand
    side by side in its title, one of them of letters; where it has others, not its first words."""
    if query.strip():
        return harmless(query, _VALUE)
    words = [one[0] for one in _WORD.finditer(harmless(product.title, _TITLE))]
    runs = [
        (at, words[at : at + size])
        for size in _QUERY_WORDS
        for at in range(len(words) - size + 1)
        if any(word.isalpha() and len(word) >= _SEARCHED for word in words[at : at + size])
    ]
    later = [run for at, run in runs if at] or [run for _, run in runs]
    return " ".join(chosen(later, seed, product.id, "query")).casefold() if later else ""


def title_for(title: str, query: str) -> str:
    """The title with what the query asks for in front, and nothing that was not in it.

    Words of the title that the query has come first, in the query's order and spelling; a number
    keeps the word after it, such as a unit. The rest follows as it was, behind a comma where the
    order changed. Nothing is left out but a word that is written twice in a row, and what would
    end the title without saying anything: in, with, for.

    >>> title_for("sim free apple iphone 8 plus 64 gb in in gold", "Apple iPhone 8 64 GB gold")
    'Apple iPhone 8 plus 64 GB gold, sim free'
    """
    asked: dict[str, str] = {}
    for one in query.split():
        asked.setdefault(_bare(one), one)
    order = {word: place for place, word in enumerate(asked)}
    used, front, rest = set[str](), list[tuple[int, tuple[str, ...]]](), list[str]()
    for piece in _pieces(title.split()):
        # A word that the query has once comes to the front once.
        places = [order[bare] for bare in map(_bare, piece) if bare in order and bare not in used]
        if places:
            used.update(map(_bare, piece))
            front.append((min(places), tuple(asked.get(_bare(word), word) for word in piece)))
        else:
            rest += piece
    ahead = [word for _, piece in sorted(front, key=lambda one: one[0]) for word in piece]
    changed = list(map(_bare, ahead + rest)) != list(map(_bare, title.split()))
    while changed and rest and _bare(rest[-1]) in _OPEN:
        rest.pop()
    if changed and ahead and rest and ahead[-1][-1].isalnum():
        ahead[-1] += ","
    words = ahead + rest
    kept = words[:1]
    kept += [word for before, word in pairwise(words) if _bare(word) != _bare(before)]
    return " ".join(kept)


def _pieces(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Words that stay together: a bare number and the letters after it; others by themselves."""
    at = 0
    while at < len(words):
        counts = _NUMBER.fullmatch(words[at]) and words[at + 1 : at + 2]
        size = 2 if counts and _bare(words[at + 1]).isalpha() else 1
        yield tuple(words[at : at + size])
        at += size


def _bare(word: str) -> str:
    return word.strip(".,;:()[]!?\"'").casefold()


# --------------------------------------------------------------------------------------------------
# A language model as teacher.


def answered(
    model: LanguageModel,
    examples: Sequence[AuthoringExample],
    *,
    seed: int = 0,
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
    for first in range(0, len(examples), _BATCH):
        batch = examples[first : first + _BATCH]
        prompts = [messages_of(one.request, voice=voice, bounds=shown) for one in batch]
        texts, error = _texts(model, prompts, seed)
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


def _texts(
    model: LanguageModel, prompts: Sequence[Sequence[Message]], seed: int
) -> tuple[list[str | None], AdwrightError | None]:
    """The texts of a batch, and the error of those without one."""
    asked = GenerationConfig(max_tokens=_TOKENS, seed=seed)
    try:
        return list(model.generate(prompts, asked).texts), None
    except AdwrightError as error:
        failed = error
    if len(prompts) == 1:
        return [None], failed
    each = [_texts(model, [prompt], seed) for prompt in prompts]
    return [text for texts, _ in each for text in texts], failed
