"""Run a checked script on a screen, from the start of the app to a verdict.

    report = run_on_screen(checked, document, open_driver, RunPolicy(GateRules(origins)),
                           {"code": "SPRING"}, clock=SystemClock(), folder=Path("run"))
    report.verdict         # "verified", "done", "doubted", "dry", "stopped" or "contradicted"

"verified" is said only where postconditions hold on pages loaded anew; without any, or where a form
adds what it does not show again, a script that came to its end is "done"; "doubted" where it only
answered, and may have answered another question. No model is called here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from adwright.agent.document.elements import AppDocument, Element, url_template
from adwright.agent.document.text_format import next_version
from adwright.agent.drivers.protocol import (
    DriverError,
    RequestGate,
    Screen,
    ScreenDriver,
    SeenRequest,
)
from adwright.agent.language.expression_kinds import StateReach
from adwright.agent.language.kinds import ArgumentValue
from adwright.agent.language.problems import RunBudget, ScriptError, ScriptProblem
from adwright.agent.language.script import (
    Act,
    BinaryTerm,
    ElementUse,
    Expression,
    IndexedTerm,
    Script,
    VariableUse,
    VerbCall,
    print_script,
    read_script,
)
from adwright.agent.language.statements import (
    CheckedScript,
    CheckRules,
    RunOutcome,
    check_script,
    run_script,
)
from adwright.agent.policy.confirmation import CapLedger, Confirmer, PendingChange, SecretKeeper
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import FlowRule, matching_shape
from adwright.agent.run.locate import (
    HealedElement,
    apply_healings,
    effect_agrees,
    heal_missed,
    items_on,
    locate,
)
from adwright.agent.run.screen_world import ScreenWorld, WorldSettings
from adwright.agent.run.trace import RunTrace, TraceStep
from adwright.core.atomic import atomic_write_bytes, atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError, FileUnreadableError

# --------------------------------------------------------------------------------------------------
# Scripts that have worked: kept with parameters and postconditions, run again without a model.
#
#     book = MacroBook(folder)
#     book.keep(Macro("raise_discount", "Set the discount of an offer", script, postconditions,
# ...))
#     macro = book.macro("raise_discount")
#
# A macro is kept only of a run that was verified. It runs on the version of the document that it
# was
# made on, and on a later one after it is checked anew against it; what no longer fits is an error
# that says so, never a new script.

# --------------------------------------------------------------------------------------------------
# What must be true after a run, asked of the app by a way that the run did not use.
#
#     Postconditions(requests=("POST /offers/{}/",), check=read_script('''
#     param code: text
#     param share: number
#     tap(inside(match($offers__rows, code)[0], $offers__edit))
#     expect(number(get_attributes($offer_edit__share, "value")) == share)
#     '''))
#
# A banner that says "saved" counts for nothing. Each request must have been answered without an
# error, and the check, a script that only reads, must run to its end on pages that are loaded anew.
# Of an item that was given another name, the check looks under that one where the old one is gone.

_READ_ONLY = CheckRules(
    forbidden=("commit", "message", "spend", "destructive", "unknown"), most_items=200
)


@settings
class Postconditions:
    """requests: shapes that must have been answered with a status from 200 to 399. check: a script
    without effects, which takes some of the run's parameters; None for no check."""

    requests: tuple[str, ...] = ()
    check: Script | None = None

    def __post_init__(self) -> None:
        for one in self.requests:
            method, _, path = one.partition(" ")
            if not method.isupper() or not path.startswith("/"):
                raise ConfigError(
                    f"{one!r} is no request",
                    where="Postconditions.requests",
                    hint="write METHOD /path, as in POST /offers/{}/",
                )
        if not self.requests and self.check is None:
            raise ConfigError(
                "there is nothing to check",
                where="Postconditions",
                hint="name a request, or write a check",
            )


def check_postconditions(wanted: Postconditions, document: AppDocument) -> CheckedScript | None:
    """The check, ready to be run. Raises ScriptError where it would do more than read."""
    return None if wanted.check is None else check_script(wanted.check, document, _READ_ONLY)


def missing_requests(
    wanted: Postconditions, seen: Iterable[SeenRequest]
) -> tuple[ScriptProblem, ...]:
    """Those of the requests that were not answered well, one problem each."""
    answered = [one.request for one in seen if one.decision.allowed and 200 <= one.status < 400]
    return tuple(
        ScriptProblem("expectation", f"{shape} was not answered well")
        for shape in wanted.requests
        if not any(matching_shape(one.method, one.url, [shape]) for one in answered)
    )


def compared_fields(check: Script) -> frozenset[str]:
    """The fields that a check compares with something."""
    calls = [one.call for one in check.body if isinstance(one, Act)]
    return frozenset(
        name for call in calls if call.verb == "expect" for name in _fields(call.arguments)
    )


def own_arguments(
    script: Script, arguments: Mapping[str, ArgumentValue]
) -> dict[str, ArgumentValue]:
    """Those of a run's arguments that its check takes. Raises ScriptError for one that is not."""
    missing = [one.name for one in script.parameters if one.name not in arguments]
    if missing:
        what = f"the check takes {missing[0]}, which the run has not"
        raise ScriptError([ScriptProblem("arguments", what)])
    return {one.name: arguments[one.name] for one in script.parameters}


def renamed_arguments(
    check: Script, arguments: Mapping[str, ArgumentValue]
) -> Iterator[dict[str, ArgumentValue]]:
    """The arguments of a check with which it looks for its item under a text that was set: what is
    picked by a text is then picked by one that a field is compared with."""
    calls = [one.call for one in check.body if isinstance(one, Act)]
    picked = {name for call in calls if call.verb == "tap" for name in _names(call, within="pick")}
    compared = {name for call in calls if call.verb == "expect" for name in _names(call)}
    for name in sorted(picked):
        for other in sorted(compared - picked):
            if isinstance(arguments.get(name), str) and isinstance(arguments.get(other), str):
                yield {**arguments, name: arguments[other]}


def _fields(term: object) -> Iterator[str]:
    match term:
        case VerbCall("get_attributes", (ElementUse(name), *_)):
            yield name
        case VerbCall(_, arguments):
            yield from _fields(arguments)
        case BinaryTerm(_, left, right):
            yield from (*_fields(left), *_fields(right))
        case tuple():
            for one in term:
                yield from _fields(one)


def _names(term: Expression, *, within: str = "") -> Iterator[str]:
    """The parameters in a term; within "pick": only those that say which item is meant."""
    match term:
        case VariableUse(name) if not within:
            yield name
        case VerbCall(verb, arguments):
            inner = "" if verb in ("match", "find") else within
            for one in arguments:
                yield from _names(one, within=inner)
        case IndexedTerm(sequence):
            yield from _names(sequence, within=within)
        case BinaryTerm(_, left, right):
            yield from (*_names(left, within=within), *_names(right, within=within))


_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@settings
class Macro:
    """A script to be used again. task: what it does, one sentence of the user's. app, version: of
    the document that it was verified on. flows: data from pages that it may put into fields."""

    name: str
    task: str
    app: str
    version: str
    script: Script
    postconditions: Postconditions
    flows: tuple[FlowRule, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r} is no name of a macro",
                where="Macro.name",
                hint="use small letters, digits and underscores, as in raise_discount",
            )


class MacroBook:
    """The macros of a folder, a file each, which people can read and edit."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(one.stem for one in self._folder.glob("*.json")))

    def keep(self, macro: Macro, document: AppDocument) -> None:
        """Write a macro, in the place of one of its name. Raises ScriptError where it or its check
        does not fit the document."""
        check_script(macro.script, document, CheckRules(flows=macro.flows))
        check_postconditions(macro.postconditions, document)
        check = macro.postconditions.check
        content = {
            "task": macro.task,
            "app": macro.app,
            "version": macro.version,
            "script": print_script(macro.script).splitlines(),
            "requests": list(macro.postconditions.requests),
            "check": [] if check is None else print_script(check).splitlines(),
            "flows": [[one.source, one.sink] for one in macro.flows],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        atomic_write_text(self._folder / f"{macro.name}.json", text)

    def macro(self, name: str) -> Macro:
        """The macro of a name.

        Raises ConfigError where there is none, FileUnreadableError where its file is broken,
        ScriptError where its script is.
        """
        path = self._folder / f"{name}.json"
        if not _NAME.fullmatch(name) or not path.is_file():
            meant = closest_name(name, self.names())
            raise ConfigError(
                f"there is no macro {name!r}",
                where=str(self._folder),
                hint=f"did you mean {meant}?" if meant else "keep one first",
            )
        try:
            content = json.loads(path.read_text("utf-8"))
            lines, check = content["script"], content["check"]
            texts = (content["task"], content["app"], content["version"])
            flows = tuple(FlowRule(source, sink) for source, sink in content["flows"])
            requests = tuple(content["requests"])
            if not all(isinstance(one, str) for one in (*texts, *lines, *check, *requests)):
                raise TypeError("a text is missing")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise FileUnreadableError(
                f"the macro cannot be read: {error!r}", file=str(path), hint="keep it anew"
            ) from error
        wanted = Postconditions(requests, read_script("\n".join(check)) if check else None)
        return Macro(name, *texts, read_script("\n".join(lines)), wanted, flows)


RunVerdict = Literal["verified", "done", "doubted", "dry", "stopped", "contradicted"]
#: Opens a screen whose requests this gate decides on.
OpenDriver: TypeAlias = Callable[[RequestGate], ScreenDriver]


@settings
class RunPolicy:
    """What a run may do. confirm: asked about writes, None says no. heal: look for elements that
    moved; those that may write only in a run with postconditions."""

    gate: GateRules
    confirm: Confirmer | None = None
    caps: CapLedger | None = None
    secrets: SecretKeeper | None = None
    heal: bool = False


@settings
class RunReport:
    """What came of a run.

    problem: why it stopped, or what contradicts it. written: what was let through; would_send: what
    a dry run would have. healed: elements that were found elsewhere; document: with them where the
    run is verified, and with the requests of elements of which none was known. seconds: from the
    opening of the screen to its closing.
    """

    verdict: RunVerdict
    answers: tuple[str, ...]
    problem: ScriptProblem | None
    steps: tuple[TraceStep, ...]
    written: tuple[PendingChange, ...]
    would_send: tuple[PendingChange, ...]
    healed: tuple[HealedElement, ...]
    document: AppDocument
    acts: int
    seconds: float


def run_on_screen(
    checked: CheckedScript,
    document: AppDocument,
    open_driver: OpenDriver,
    policy: RunPolicy,
    arguments: Mapping[str, ArgumentValue],
    *,
    clock: Clock,
    folder: Path | None = None,
    postconditions: Postconditions | None = None,
    budget: RunBudget | None = None,
    doubts: tuple[str, ...] = (),
) -> RunReport:
    """Run the script, then check the postconditions; a run that stops is reported, not raised.
    doubts: what it does otherwise than its task reads, which a person is asked about.

    folder: gets trace.jsonl and pictures; None keeps the trace in memory. Raises ScriptError for
    postconditions that would write, and ResourceError where the folder cannot be written.
    """
    check = None if postconditions is None else check_postconditions(postconditions, document)
    started = clock.monotonic()
    trace = _trace(folder)
    gate = PolicyGate(
        policy.gate,
        document,
        confirm=policy.confirm,
        caps=policy.caps,
        secrets=policy.secrets,
        doubts=doubts,
        note=trace.about_to_send,
    )
    run = _ScreenRun(document, gate, trace, policy, folder, clock)
    verdict, problem = run.run(
        open_driver, checked, arguments, budget, heal_writes=postconditions is not None
    )
    if verdict == "done" and not gate.written and _ends_in_a_write(checked, document):
        hint = "look at the page, it may have changed"
        problem = ScriptProblem(
            "wrong_state", "the script is to write, and nothing was sent", 0, 0, hint
        )
        verdict = "stopped"
    if doubts and verdict == "done" and not gate.written:
        verdict, problem = "doubted", ScriptProblem("expectation", doubts[0])
    if postconditions is not None and verdict == "done":
        problem = run.verify(postconditions, check, arguments)
        done: RunVerdict = "verified" if run.is_looked_up or check is None else "done"
        verdict = "contradicted" if problem else done
    run.close()
    trace.end(verdict)
    after = apply_healings(document, run.healed) if verdict == "verified" else document
    if verdict in ("verified", "done"):
        after = with_requests(after, gate.written)
    return RunReport(
        verdict,
        tuple(map(gate.secrets.mask, run.outcome.answers)) if run.outcome else (),
        problem,
        tuple(trace.steps),
        tuple(gate.written),
        tuple(gate.would_send),
        run.healed,
        after,
        run.outcome.acts if run.outcome else sum(one.how != "route" for one in trace.steps),
        clock.monotonic() - started,
    )


def with_requests(document: AppDocument, written: Sequence[PendingChange]) -> AppDocument:
    """The document with what buttons of scripts have sent, of which it knows no request, as its
    next version; itself where there is nothing."""
    seen: dict[str, dict[str, None]] = {}
    for one in written:
        if not one.documented and not document.by_name[one.element].requests:
            shape = f"{one.method} {url_template(one.url).partition('?')[0]}"
            seen.setdefault(one.element, {})[shape] = None
    if not seen:
        return document
    elements = tuple(
        replace(one, requests=tuple(seen[one.name])) if one.name in seen else one
        for one in document.elements
    )
    return replace(document, elements=elements, version=next_version(document.version))


def _ends_in_a_write(checked: CheckedScript, document: AppDocument) -> bool:
    """Whether a script without branches ends in what writes by a request that nobody knows, in an
    app that stores by requests."""
    acts = [one for one in checked.script.body if isinstance(one, Act)]
    goal = document.by_name.get(checked.effects[-1].element) if checked.effects else None
    if len(acts) != len(checked.script.body) or goal is None or not goal.writes or goal.requests:
        return False
    is_last = checked.effects[-1].line in (0, acts[-1].at.line)
    return is_last and any(one.requests for one in document.elements)


class _ScreenRun:
    def __init__(
        self,
        document: AppDocument,
        gate: PolicyGate,
        trace: RunTrace,
        policy: RunPolicy,
        folder: Path | None,
        clock: Clock,
    ) -> None:
        self.outcome: RunOutcome | None = None
        self.is_looked_up = False
        self._document = document
        self._gate = gate
        self._trace = trace
        self._policy = policy
        self._folder = folder
        self._clock = clock
        self._driver: ScreenDriver | None = None
        self._world: ScreenWorld | None = None

    @property
    def healed(self) -> tuple[HealedElement, ...]:
        return tuple(self._world.healed) if self._world else ()

    def run(
        self,
        open_driver: OpenDriver,
        checked: CheckedScript,
        arguments: Mapping[str, ArgumentValue],
        budget: RunBudget | None,
        *,
        heal_writes: bool,
    ) -> tuple[RunVerdict, ScriptProblem | None]:
        """The verdict before anything is checked, and why it stopped."""
        settings = WorldSettings(heal=self._policy.heal, heal_writes=heal_writes)
        try:
            driver = self._driver = open_driver(self._gate.decide)
            world = self._world = ScreenWorld(
                self._document,
                driver,
                self._gate,
                self._trace,
                settings,
                keep_picture=self._keep_picture if self._folder else None,
            )
            world.go_home()
            self.outcome = self._script(world, checked, arguments, budget)
            world.look()
        except ScriptError as error:
            return "stopped", error.problems[0]
        except DriverError as error:
            return "stopped", ScriptProblem("driver", str(error))
        return "dry" if self._policy.gate.dry else "done", None

    def verify(
        self,
        wanted: Postconditions,
        check: CheckedScript | None,
        arguments: Mapping[str, ArgumentValue],
    ) -> ScriptProblem | None:
        """Why the postconditions do not hold; pages are loaded anew, and nothing can write."""
        world = self._world
        if world is None:
            return ScriptProblem("driver", "there is no screen")
        missing = missing_requests(wanted, world.acts.seen)
        fields = compared_fields(check.script) if check else frozenset()
        self.is_looked_up = check is not None and not fields & world.adding
        if missing or check is None or not self.is_looked_up:
            return missing[0] if missing else None
        try:
            own = own_arguments(check.script, arguments)
            try:
                self._look_up(world, check, own)
            except ScriptError as error:
                if error.code not in ("not_found", "index"):
                    raise
                self._look_up_renamed(world, check, own, error)
        except ScriptError as error:
            first = error.problems[0]
            what = f"the check after the run: {first.what}"
            return ScriptProblem(first.code, what, first.line, first.column, first.hint)
        except DriverError as error:
            return ScriptProblem("driver", f"the check after the run: {error}")
        return None

    def _look_up(
        self, world: ScreenWorld, check: CheckedScript, own: Mapping[str, ArgumentValue]
    ) -> None:
        with self._gate.reading():
            world.line = 0
            world.go_home()
            self._script(world, check, own, None)
            world.look()

    def _look_up_renamed(
        self,
        world: ScreenWorld,
        check: CheckedScript,
        own: Mapping[str, ArgumentValue],
        error: ScriptError,
    ) -> None:
        """The item is no longer there under its name: it may have been given another."""
        for renamed in renamed_arguments(check.script, own):
            with suppress(ScriptError):
                self._look_up(world, check, renamed)
                return
        raise error

    def close(self) -> None:
        """Give the screen back."""
        if self._driver is not None:
            with suppress(DriverError):
                self._driver.close()

    def _script(
        self,
        world: ScreenWorld,
        checked: CheckedScript,
        arguments: Mapping[str, ArgumentValue],
        budget: RunBudget | None,
    ) -> RunOutcome:
        def on_line(line: int) -> None:
            world.line = line

        return run_script(
            checked,
            self._document,
            world,
            arguments,
            clock=self._clock,
            budget=budget,
            on_line=on_line,
        )

    def _keep_picture(self, number: int, data: bytes) -> str:
        name = f"step-{number:03d}.png"
        atomic_write_bytes((self._folder or Path()) / name, data, mode=0o600)
        return name


def _trace(folder: Path | None) -> RunTrace:
    if folder is None:
        return RunTrace()
    folder.mkdir(parents=True, exist_ok=True)
    return RunTrace(folder / "trace.jsonl")


# --------------------------------------------------------------------------------------------------
# Look whether a script would still find its elements, without doing anything but following links.
#
#     found = survey_script(checked, document, open_driver, rules)
#     [one for one in found if one.status != "there"]
#
# Each state that harmless ways lead to is visited once. What lies behind a write, or behind an item
# that only the script picks, is "unseen".


@settings
class SurveyedElement:
    """status: "there"; "moved", where healing would find it; "gone"; "changed", where it would do
    something else; "unseen", where no harmless way leads to its state. note: why."""

    name: str
    status: Literal["there", "moved", "gone", "changed", "unseen"]
    note: str = ""


def survey_script(
    checked: CheckedScript, document: AppDocument, open_driver: OpenDriver, rules: GateRules
) -> tuple[SurveyedElement, ...]:
    """What became of the elements of a script, in the order of the document.

    Raises ScriptError where the app cannot be opened.
    """
    gate = PolicyGate(replace(rules, dry=True), document)
    driver = open_driver(gate.decide)
    try:
        with gate.reading():
            return _survey(checked, document, driver, gate)
    finally:
        with suppress(DriverError):
            driver.close()


def _survey(
    checked: CheckedScript, document: AppDocument, driver: ScreenDriver, gate: PolicyGate
) -> tuple[SurveyedElement, ...]:
    world = ScreenWorld(document, driver, gate, RunTrace())
    world.go_home()
    reach = StateReach(document).from_state(document.start)
    wanted = [one for one in document.elements if one.name in checked.elements]
    found: dict[str, SurveyedElement] = {}
    for state in dict.fromkeys(one.state for one in wanted):
        here = [one for one in wanted if one.state == state]
        if state not in reach:
            found |= _all(here, "unseen", "only a write or an item leads there")
            continue
        try:
            screen = world.be_at(state)
        except (ScriptError, DriverError) as error:
            found |= _all(here, "unseen", str(error))
            continue
        found |= {one.name: _look(screen, document, one) for one in here}
    return tuple(found[one.name] for one in wanted)


def _all(
    elements: Iterable[Element], status: Literal["unseen"], note: str
) -> dict[str, SurveyedElement]:
    return {one.name: SurveyedElement(one.name, status, note) for one in elements}


def _look(screen: Screen, document: AppDocument, element: Element) -> SurveyedElement:
    if element.many:
        count = len(items_on(screen, element))
        return SurveyedElement(element.name, "there" if count else "gone", f"{count} items")
    try:
        node = locate(screen, element)
    except ScriptError as error:
        moved = heal_missed(screen, document, element, error.code) is not None
        return SurveyedElement(element.name, "moved" if moved else "gone", error.what)
    if not effect_agrees(screen.url, element, node):
        return SurveyedElement(element.name, "changed", "it would do something else")
    return SurveyedElement(element.name, "there")


# --------------------------------------------------------------------------------------------------
# A run as one HTML page: what was asked, done, sent and seen, in a file without scripts.
#
#     run_page(report, script, title="Raise the discount", folder=Path("run"))
#
# Pictures are put into the page; text is escaped. What came from the app is shown, never
# interpreted.

_MOST_PICTURE_BYTES = 4 << 20
_PNG = b"\x89PNG\r\n\x1a\n"


def run_page(report: RunReport, script: Script, *, title: str, folder: Path | None = None) -> str:
    """The page as text. folder: where its pictures lie; None shows none. Those that are missing,
    too large or no PNG are left out."""
    from adwright.metrics.reports.report import page_environment

    healing = "".join(
        f"${one.after.name}: {_ways(one.before)} -> {_ways(one.after)}\n" for one in report.healed
    )
    names = {one.picture for one in report.steps if one.picture}
    pictures = {name: data for name in names if (data := _picture(folder, name))}
    environment = page_environment("adwright.agent.run")
    return environment.get_template("run_page.html").render(
        title=title,
        report=report,
        script=print_script(script),
        healing=healing,
        pictures=pictures,
    )


def _ways(element: Element) -> str:
    return ", ".join(f"{one.kind} {one.value}" for one in element.locators)


def _picture(folder: Path | None, name: str) -> str:
    if folder is None or Path(name).name != name:
        return ""
    path = folder / name
    if not path.is_file() or path.stat().st_size > _MOST_PICTURE_BYTES:
        return ""
    data = path.read_bytes()
    if not data.startswith(_PNG):
        return ""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def macro_of(
    name: str,
    task: str,
    script: Script,
    postconditions: Postconditions,
    report: RunReport,
    *,
    flows: tuple[FlowRule, ...] = (),
) -> Macro:
    """The macro of a run. Raises ConfigError where the run was not verified."""
    if report.verdict != "verified":
        raise ConfigError(
            f"the run is {report.verdict}, not verified",
            where=f"macro {name}",
            hint="keep scripts whose postconditions hold",
        )
    document = report.document
    return Macro(name, task, document.app, document.version, script, postconditions, flows)
