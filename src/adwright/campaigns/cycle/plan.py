"""The file of a cycle: its steps, each one verb of the command line, in an order that it follows.

    cycle = load_cycle(Path("cycle.toml"))
    [step.name for step in cycle.steps]         # each behind what it needs

A step comes behind those that it names as `after`, those that make its inputs, and those whose key
it takes. Inputs are paths below the folder of the file, `store:events` and the like, or the day of
the clock; the key of a step is a digest of its command and of what its inputs are, and so names
what it makes.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from adwright.authoring.writer.config import WriterPrices
from adwright.core.config import Count, Gt, Positive, load_toml, name_hint, settings
from adwright.core.errors import ConfigError

#: What an input may be beside a path.
STORE_INPUTS = ("store:events", "store:creatives", "store:stops")
CLOCK_INPUTS = ("clock:day", "clock:week", "clock:month")
#: What may stand in braces beside the values of the file, and the key of another step.
KNOWN = ("tenant", "store", "key", "number", "tokens_left", "money_left", "seconds_left", "prices")
_BRACES = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")


@settings
class CycleBudget:
    """What all steps together may use in a day, a month, or a round; None is no bound."""

    tokens: Count | None = None
    money: Positive | None = None
    seconds: Positive | None = None
    per: Literal["round", "day", "month"] = "day"


@settings
class CycleStep:
    """A step: one verb of adwright.

    run: its words behind `adwright`. inputs, outputs: see the module. after: steps that come
    before. optional: it waits where an input is not there, which else is a mistake. rows: a table
    that has rows, else there is nothing to do. gate: the gate.json of `adwright retrain`: the step
    runs only if the new model was shown to be no worse. spends: the folder of `adwright author
    write` in which it uses tokens. ok: exit codes with which it is done. seconds, tokens, money:
    that it may use at most, each time.
    """

    name: str
    run: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    optional: bool = False
    rows: str = ""
    gate: str = ""
    spends: str = ""
    ok: tuple[int, ...] = (0,)
    seconds: Positive | None = None
    tokens: Count | None = None
    money: Positive | None = None

    def texts(self) -> tuple[str, ...]:
        """All in which something may stand in braces."""
        return (self.run, *self.inputs, *self.outputs, self.rows, self.gate, self.spends)


@settings
class CycleAlerts:
    """Who is told when something needs a person.

    urls: that get each alert by POST, as JSON. secret: the environment variable whose value signs
    them. timeout: seconds for each. fresh: hours without an event after which it is told. drift:
    it is told where the ads' responses are so many times more or fewer than `judge` predicted.
    """

    urls: tuple[str, ...] = ()
    secret: str = ""
    timeout: Positive = 5.0
    fresh: Positive | None = None
    drift: Annotated[float, Gt(1)] | None = None
    judge: str = "click_rate"

    def __post_init__(self) -> None:
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                hint = "write http://... or https://..."
                raise ConfigError("alerts go to a web address", where=f"urls: {url}", hint=hint)


@settings
class CycleFile:
    """What stands in the file. values: of one's own, for braces. prices: of the model that writes,
    by which money is counted."""

    tenant: str
    store: str
    steps: tuple[CycleStep, ...]
    values: Mapping[str, str | int | float] = field(default_factory=dict)
    budget: CycleBudget = CycleBudget()
    prices: WriterPrices = WriterPrices()
    alerts: CycleAlerts = CycleAlerts()


@dataclass(frozen=True)
class Cycle:
    """A file that was read and checked.

    path: of the file, absolute. steps: in the order in which they run. before: step -> those that
    it comes behind.
    """

    path: Path
    file: CycleFile
    steps: tuple[CycleStep, ...]
    before: Mapping[str, tuple[str, ...]]

    @property
    def folder(self) -> Path:
        """In which the steps run."""
        return self.path.parent

    @property
    def state(self) -> Path:
        """Folder of what the cycle knows of itself: `cycle` beside `cycle.toml`."""
        return self.path.with_suffix("")

    @property
    def store(self) -> str:
        """The URL of the store, also from elsewhere."""
        kind, sign, path = self.file.store.partition(":///")
        if kind != "sqlite" or not sign or path.startswith("/"):
            return self.file.store
        return f"{kind}:///{self.folder / path}"

    def words(self, step: CycleStep, given: Mapping[str, str]) -> list[str]:
        """The words of a step, each filled in by itself, so that a value with spaces stays one;
        `{prices}` alone is several."""
        found: list[str] = []
        for word in shlex.split(step.run):
            found += shlex.split(given["prices"]) if word == "{prices}" else [filled(word, given)]
        return found


def filled(text: str, given: Mapping[str, str]) -> str:
    """The text with what stands in its braces."""
    return _BRACES.sub(lambda one: given[one[1]], text)


def keys_in(text: str) -> list[str]:
    """What stands in the braces of a text."""
    return _BRACES.findall(text)


def load_cycle(path: Path) -> Cycle:
    """Read a file of a cycle. Raises ConfigError that says what is wrong, where, and what to do."""
    path = path.resolve()
    file = load_toml(path, CycleFile)
    steps = {one.name: one for one in file.steps}
    where = str(path)
    if not file.steps:
        raise ConfigError(
            "the cycle has no step", where=where, hint="adwright cycle new writes one"
        )
    for name, value in file.values.items():
        if name in KNOWN or "." in name:
            raise _wrong(where, "values", f"{name!r} has a meaning of its own", "name it otherwise")
        if not str(value).strip():
            raise _wrong(where, "values", f"{name!r} is empty", "fill it in")
    for one in file.steps:
        if not _NAME.fullmatch(one.name):
            hint = "use small letters, digits, - and _, a letter first"
            raise _wrong(where, one.name, "this is no name of a step", hint)
        if [each.name for each in file.steps].count(one.name) > 1:
            raise _wrong(where, one.name, "two steps have this name", "rename one of them")
        _check_texts(where, one, steps, file.values)
    makers = _makers(where, file.steps)
    before = {}
    for one in file.steps:
        needed = dict.fromkeys((*one.after, *_taken(one)))
        for read in (*one.inputs, *filter(None, (one.rows, one.gate))):
            made_by = _makers_of(read, makers)
            if not made_by and ":" not in read and not one.optional:
                _check_there(where, one, read, path.parent, file.values)
            needed.update(dict.fromkeys(made_by))
        before[one.name] = tuple(name for name in needed if name != one.name)
    return Cycle(path, file, tuple(steps[name] for name in _ordered(where, before)), before)


def _wrong(where: str, step: str, what: str, hint: str) -> ConfigError:
    return ConfigError(what, where=f"{where}, {step}", hint=hint)


def _check_texts(
    where: str, step: CycleStep, steps: Mapping[str, CycleStep], values: Mapping[str, object]
) -> None:
    known = [*KNOWN, *values, *(f"{name}.key" for name in steps)]
    for text in step.texts():
        for name in keys_in(text):
            if name not in known:
                hint = name_hint(name, known)
                raise _wrong(where, step.name, f"nothing is called {{{name}}}", hint)
    try:
        words = shlex.split(step.run)
    except ValueError as error:
        raise _wrong(where, step.name, f"the command cannot be read: {error}", "mend it") from error
    if not words or words[0] == "adwright":
        hint = "write the words behind adwright, as in `store compact ...`"
        raise _wrong(where, step.name, "run names one verb of adwright", hint)
    for name in step.after:
        if name not in steps:
            hint = name_hint(name, list(steps))
            raise _wrong(where, step.name, f"after names no step: {name!r}", hint)
    allowed = (*STORE_INPUTS, *CLOCK_INPUTS)
    for read in step.inputs:
        if ":" in read and read not in allowed:
            hint = f"name a path, or {', '.join(allowed)}"
            raise _wrong(where, step.name, f"there is no input {read!r}", hint)
    for made in step.outputs:
        if ":" in made or PurePosixPath(made).is_absolute() or ".." in PurePosixPath(made).parts:
            hint = "name a path below the folder of the file; for the rest use after"
            raise _wrong(where, step.name, f"{made!r} is no output", hint)
    if "{key}" in "".join((*step.inputs, step.rows, step.gate)):
        hint = "a key follows from the inputs; take that of another step: {NAME.key}"
        raise _wrong(where, step.name, "an input cannot have the step's own key", hint)


def _taken(step: CycleStep) -> Iterator[str]:
    """The steps whose keys it takes."""
    for text in step.texts():
        for name in keys_in(text):
            if name.endswith(".key"):
                yield name.removesuffix(".key")


def _parts(path: str, name: str) -> tuple[str, ...]:
    """A path that may hold a key, comparable with others. name: of the step that makes it."""
    return PurePosixPath(path.replace("{key}", f"{{{name}.key}}")).parts


def _makers(where: str, steps: Sequence[CycleStep]) -> dict[tuple[str, ...], str]:
    """What is made, and by which step. Raises ConfigError where two make one thing."""
    made: dict[tuple[str, ...], str] = {}
    for step in steps:
        for output in step.outputs:
            parts = _parts(output, step.name)
            for other, by in made.items():
                if parts[: len(other)] == other or other[: len(parts)] == parts:
                    said = (
                        f"{output!r} is written by {by} too" if by != step.name else "it is twice"
                    )
                    hint = "let each write a place of its own"
                    raise _wrong(where, step.name, f"two steps write one output: {said}", hint)
            made[parts] = step.name
    return made


def _makers_of(read: str, makers: Mapping[tuple[str, ...], str]) -> list[str]:
    """The steps that make this path, something in it, or what it lies in."""
    parts = _parts(read, "")
    return [
        by
        for made, by in makers.items()
        if parts[: len(made)] == made or made[: len(parts)] == parts
    ]


def _check_there(
    where: str, step: CycleStep, read: str, folder: Path, values: Mapping[str, object]
) -> None:
    if any(name not in values for name in keys_in(read)):
        return
    path = folder / filled(read, {name: str(value) for name, value in values.items()})
    if not path.exists():
        hint = "make it, name what a step makes, or say optional = true: then the step waits for it"
        raise _wrong(where, step.name, f"there is no input {read!r}", hint)


def _ordered(where: str, before: Mapping[str, Sequence[str]]) -> list[str]:
    """The steps, each behind those that it needs, else as they stand."""
    left, found = dict(before), list[str]()
    while left:
        free = next((name for name, needs in left.items() if not set(needs) & left.keys()), None)
        if free is None:
            ring = [next(iter(left))]
            while ring[-1] not in ring[:-1]:
                ring.append(next(one for one in left[ring[-1]] if one in left))
            said = " <- ".join(ring[ring.index(ring[-1]) :])
            hint = "take one of these inputs or `after` out: what comes last is read next time"
            raise _wrong(where, ring[-1], f"the steps wait for each other: {said}", hint)
        found.append(free)
        del left[free]
    return found


def usual_cycle(values: Mapping[str, str]) -> str:
    """The text of a file with all steps. values: tenant, store, catalogue, columns, models, landing
    and model."""
    text = files("adwright.campaigns.cycle").joinpath("usual.toml").read_text("utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", json.dumps(value, ensure_ascii=False))
    return text
