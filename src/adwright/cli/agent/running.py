"""Run a script on the screen of an app, and tell what came of it: what `do` and `replay` share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.lm.serve import DEFAULT_MODEL
from adwright.cli.shared import show_facts, show_table
from adwright.core.config import Natural, settings
from adwright.core.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adwright.agent.document.elements import AppDocument
    from adwright.agent.generate.ladder import FoundScript
    from adwright.agent.generate.writing import BeamConfig
    from adwright.agent.language.kinds import ArgumentValue
    from adwright.agent.language.statements import CheckedScript
    from adwright.agent.operate.policy_file import AgentPolicy, KeptTask
    from adwright.agent.operate.tasks import PreparedTask
    from adwright.agent.policy.confirmation import Confirmer, PendingChange
    from adwright.agent.run.runner import Macro, MacroBook, Postconditions, RunReport
    from adwright.core.clock import Clock
    from adwright.lm.engine.generation import LanguageModel


# --------------------------------------------------------------------------------------------------
# Who says yes to a pending change: a person at the terminal, or a file of what is allowed.


def confirmer(file: Path | None, document: AppDocument) -> Confirmer:
    """By the file, or by asking; where nobody can be asked the answer is no, and what a file would
    have to say is told."""
    from adwright.agent.operate.policy_file import load_allowances

    if file is not None:
        allowed = load_allowances(file)

        def by_file(change: PendingChange) -> bool:
            yes = allowed(change)
            _show(change, "allowed" if yes else "not allowed")
            if not yes:
                _suggest(change, document, str(file))
            return yes

        return by_file

    def by_person(change: PendingChange) -> bool:
        if sys.stdin.isatty():
            return ask_person(change)
        _show(change, "nobody can be asked here")
        _suggest(change, document, "a file for --confirm-file")
        return False

    return by_person


def ask_person(change: PendingChange) -> bool:
    """Show the pending request, and ask; only a yes is one, and Ctrl-C is a no."""
    _show(change, "waits for a yes; nothing is sent yet")
    try:
        return typer.confirm("Send it?", default=False)
    except typer.Abort:
        return False


def _show(change: PendingChange, what: str) -> None:
    head, *fields = change.lines()
    typer.echo(f"{what}: {head}", err=True)
    typer.echo(f"  by ${change.element}", err=True)
    for line in fields:
        typer.echo(f"  {line}", err=True)
    same = sum(one.old == one.new for one in change.fields)
    if same:
        typer.echo(f"  {same} fields as they were", err=True)


def _suggest(change: PendingChange, document: AppDocument, file: str) -> None:
    from adwright.agent.operate.policy_file import allowance_text

    element = document.by_name.get(change.element)
    text = allowance_text(change, element.requests if element else ())
    if text:
        typer.echo(f"to allow it once, in {file}:\n{text}", err=True)


# --------------------------------------------------------------------------------------------------
# Options of the verbs of `adwright agent`, and the files that they stand for.


@settings
class AppFiles:
    """The files of an app: those that are not named lie beside its document."""

    document: Path
    policy: Path | None = None
    macros: Path | None = None
    records: Path | None = None

    @property
    def policy_path(self) -> Path:
        """Of the policy."""
        return self.policy or self.document.with_suffix(".policy.toml")

    @property
    def caps_path(self) -> Path:
        """Where the writes of the day are counted: beside the policy that bounds them."""
        name = self.policy_path.name.removesuffix(".toml").removesuffix(".policy")
        return self.policy_path.with_name(f"{name}.caps.json")

    @property
    def records_path(self) -> Path:
        """Of what an exploration has seen."""
        return self.records or self.document.with_suffix(".records")

    @property
    def book(self) -> MacroBook:
        """The kept tasks."""
        from adwright.agent.run.runner import MacroBook

        return MacroBook(self.macros or self.document.with_suffix(".macros"))

    def open(self) -> tuple[AppDocument, AgentPolicy]:
        """Read document and policy. Raises ConfigError where they do not belong together."""
        from adwright.agent.document.text_format import read_document
        from adwright.agent.operate.policy_file import load_policy

        document, policy = read_document(self.document), load_policy(self.policy_path)
        policy.require(document)
        return document, policy


@settings
class ModelChoice:
    """Which model may be asked for a script. writer: folder of a tuned writer of scripts."""

    model: str = DEFAULT_MODEL
    url: str = ""
    adapter: str = ""
    threads: int = 0
    offline: bool = False
    none: bool = False
    writer: str = ""

    def __post_init__(self) -> None:
        if self.none and (self.url or self.adapter or self.writer):
            raise ConfigError(
                "no model is asked, and one is named",
                where="--no-model",
                hint="leave it out, or the model",
            )
        if self.writer and (self.url or self.adapter):
            raise ConfigError(
                "a writer of scripts is a model of this machine with its own adapter",
                where=f"--writer {self.writer}",
                hint="leave it out, or --engine-url and --adapter",
            )

    @property
    def is_default(self) -> bool:
        """Whether none is named."""
        return self.model == DEFAULT_MODEL and not (self.url or self.adapter or self.writer)

    @property
    def asks_writer(self) -> bool:
        """Whether a tuned writer would be asked: the one that is named, or that which ships."""
        from adwright.agent.generate.writing import WRITER_ADAPTER

        ships = self.is_default and WRITER_ADAPTER.is_dir()
        return bool(self.writer) or (not self.none and ships)

    @property
    def beam(self) -> BeamConfig | None:
        """How it is asked; None as any model is."""
        from adwright.agent.generate.writing import ENDPOINT_BEAM, WRITER_BEAM

        return WRITER_BEAM if self.asks_writer else ENDPOINT_BEAM if self.url else None

    @property
    def opener(self) -> Callable[[], AbstractContextManager[LanguageModel]] | None:
        """What opens it, when it is needed; None where none may be asked."""
        if self.none:
            return None
        return self._writer if self.asks_writer else self._model

    @contextmanager
    def _writer(self) -> Iterator[LanguageModel]:
        from adwright.agent.generate.writing import open_tuned_writer

        typer.echo("the tuned writer is asked", err=True)
        opened = open_tuned_writer(
            self.writer, model=self.model, threads=self.threads, offline=self.offline
        )
        with closing(opened) as model:
            yield model

    @contextmanager
    def _model(self) -> Iterator[LanguageModel]:
        from adwright.lm.open_model import LmSpec, open_lm

        spec = LmSpec(
            self.model,
            adapter=self.adapter,
            url=self.url,
            threads=self.threads,
            offline=self.offline,
        )
        why = ", untuned, as no writer of scripts is there" if self.is_default else ""
        typer.echo(f"a model is asked{why}", err=True)
        with closing(open_lm(spec, auto="paged")) as model:
            yield model


def new_run_folder(folder: Path | None, clock: Clock) -> Path:
    """The folder of a run. Raises ResourceError where there is a run in it already."""
    if folder is None:
        return Path("runs/agent") / f"{clock.now():%Y%m%d-%H%M%S-%f}"
    if (folder / "trace.jsonl").exists():
        raise ResourceError(
            "there is a run already", where=str(folder), hint="name another folder, or none"
        )
    return folder


def name_values(words: list[str] | None, where: str) -> Mapping[str, str]:
    """The pairs of words such as share=25; what stands behind the first = is the value. Raises
    ConfigError, which does not repeat the value."""
    pairs: dict[str, str] = {}
    for word in words or ():
        name, sign, value = word.partition("=")
        if not sign or not name or name in pairs:
            raise ConfigError(
                "each is NAME=VALUE, once", where=f"{where} {name[:40]}", hint="as in share=25"
            )
        pairs[name] = value
    return pairs


#: Exit codes beside 0, of a run that is verified, done or dry: somebody, or the policy, said no;
#: it stopped; what it did did not come true, or its answer may be to another question.
REFUSED, STOPPED, CONTRADICTED = 1, 3, 4


@dataclass(frozen=True)
class RunOptions:
    """The options of a run."""

    files: AppFiles
    confirm_file: Path | None = None
    folder: Path | None = None
    dry: bool = False
    phone: bool = False

    def run(
        self,
        document: AppDocument,
        policy: AgentPolicy,
        checked: CheckedScript,
        arguments: Mapping[str, ArgumentValue],
        postconditions: Postconditions | None,
        task: KeptTask,
        doubts: tuple[str, ...] = (),
    ) -> RunReport:
        """Run it, keep it in its folder, and tell what came of it."""
        from adwright.agent.drivers.chromium import DriverSettings
        from adwright.agent.operate.policy_file import PatientClock, keep_run
        from adwright.agent.operate.screens import open_screens
        from adwright.agent.policy.confirmation import CapLedger
        from adwright.agent.run.runner import RunPolicy, run_on_screen
        from adwright.core.clock import SystemClock

        clock = PatientClock(SystemClock())
        folder = new_run_folder(self.folder, clock)
        rules = RunPolicy(
            policy.gate_rules(dry=self.dry),
            confirm=clock.patient(confirmer(self.confirm_file, document)),
            caps=CapLedger(self.files.caps_path, policy.caps, clock=clock),
            secrets=policy.keeper(os.environ),
            heal=policy.heal,
        )
        settings = DriverSettings(screen="phone" if self.phone else "desktop")
        with open_screens(
            policy, environment=os.environ, settings=settings, clock=clock
        ) as open_driver:
            report = run_on_screen(
                checked,
                document,
                open_driver,
                rules,
                arguments,
                clock=clock,
                folder=folder,
                postconditions=postconditions,
                budget=policy.budget,
                doubts=doubts,
            )
        mark = keep_run(folder, report, checked.script, task)
        _show_report(report, folder, mark)
        _keep_healed(report, document, folder)
        return report


def show_script(
    checked: CheckedScript, source: str, arguments: Mapping[str, ArgumentValue]
) -> None:
    """Print a script, where it comes from, and what it may do."""
    from adwright.agent.language.script import print_script

    typer.echo(f"script, {source}:")
    for line in print_script(checked.script).splitlines():
        typer.echo(f"  {line}")
    for name, value in arguments.items():
        typer.echo(f"  {name} = {value}")
    writes = [one for one in checked.effects if one.effect not in ("read", "navigate", "draft")]
    may = ", ".join(f"{one.effect} by ${one.element or 'enter'}" for one in writes)
    typer.echo(f"may write: {may or 'nothing'}")


def end_by_verdict(report: RunReport) -> None:
    """Leave with the exit code of a run; return where that is 0."""
    if report.verdict in ("contradicted", "doubted"):
        raise typer.Exit(CONTRADICTED)
    if report.verdict == "stopped":
        said_no = report.problem is not None and report.problem.code in ("refused", "cap")
        raise typer.Exit(REFUSED if said_no else STOPPED)


def _show_report(report: RunReport, folder: Path, mark: str) -> None:
    for answer in report.answers:
        typer.echo(f"answer: {answer}")
    for change in report.written:
        typer.echo(f"sent: {change.sentence()}")
    for change in report.would_send:
        typer.echo(f"would send: {change.sentence()}")
    problem = report.problem
    if problem is not None:
        typer.echo(f"problem: {problem.what}{f' ({problem.where})' if problem.where else ''}")
        if problem.hint:
            typer.echo(f"  to do: {problem.hint}")
    facts = {
        "verdict": report.verdict,
        "acts": f"{report.acts}, {len(report.written)} writes, {report.seconds:.1f} s",
        "page": str(folder / "report.html"),
        "mark": mark,
    }
    show_facts(facts)


def _keep_healed(report: RunReport, before: AppDocument, folder: Path) -> None:
    """A document with healed elements, or with requests that nobody knew, is written beside the
    run, for a person to take over."""
    from adwright.agent.document.text_format import write_document
    from adwright.agent.run.locate import healing_text

    if report.document is before:
        return
    path = folder / "document.txt"
    write_document(path, report.document)
    typer.echo("the app is not as its document says; review this, and take it over if it is right:")
    typer.echo(healing_text(before, report.document), nl=False)
    typer.echo(f"  in {path}")


# --------------------------------------------------------------------------------------------------
# adwright agent do.


def do(
    task: str,
    *,
    document: Path,
    policy: Path | None = None,
    macros: Path | None = None,
    model: str = DEFAULT_MODEL,
    engine_url: str = "",
    adapter: Path | None = None,
    writer: Path | None = None,
    no_model: bool = False,
    model_first: bool = False,
    threads: Natural = 0,
    offline: bool = False,
    confirm_file: Path | None = None,
    folder: Path | None = None,
    keep: str = "",
    phone: bool = False,
    dry_run: bool = False,
) -> None:
    """Make a script of a task, and run it in a browser.

    A kept task of the same words is taken first, then a plan made by rules that accounts for every
    word of the task; else a model is asked, and then a plan that leaves words over, which are told.
    The script is checked against the document, and printed, before anything is
    tapped. Where it stops because a list has no such item, and nothing was sent, the next one looks
    in another, four in all; with --folder run, in run-2 and so on. Each change that the policy
    names waits until you say yes to the request itself, field by field. Afterwards the app
    is asked by another way whether it is so.

        adwright agent do 'Set the discount of "Spring" to 25' --document shop.txt --dry-run

        adwright agent do 'Set the discount of "Spring" to 25' --document shop.txt --keep discount

    Exit codes: 0 where it is verified, done or dry; 1 where you or the policy said no; 3 where it
    stopped; 4 where the app contradicts it; 2 for a mistake, and where no script fits the task.

    Options:
        task: What is to be done, in one or two sentences; values in quotes.
        engine_url (--url --engine-url): Ask the model of an OpenAI-compatible endpoint,
            http://HOST:PORT/v1, named by --model; its key is read from ADWRIGHT_LM_KEY or
            OPENAI_API_KEY.
        writer: Ask --model with this adapter, which learned to write scripts; by default with
            the one that comes with adwright, if it does and no other model is named.
        no_model: Only kept tasks and plans; no model is asked.
        model_first: Ask the model before any plan.
        confirm_file: File of changes that are allowed beforehand, for runs that nobody watches;
            without it each is asked about on the terminal, and refused where there is none.
        folder (--out): For the run: trace, pictures, page; by default a new one.
        keep: Keep a verified run under this name, for `replay`.
        dry_run: Run it, but let no request leave that may write; say what would have been sent.
            Signing in is sent.
    """
    from adwright.agent.operate.tasks import (
        find_scripts,
        keep_task,
        keepable,
        prepare_task,
        run_in_turn,
    )

    files = AppFiles(document, policy, macros)
    app, rules = files.open()
    named = ["" if one is None else str(one) for one in (adapter, writer)]
    chosen = ModelChoice(model, engine_url, named[0], threads, offline, no_model, named[1])
    options = RunOptions(files, confirm_file, folder, dry_run, phone)
    tried: list[PreparedTask] = []

    def run(found: FoundScript) -> RunReport:
        tried.append(prepare_task(found, task, app))
        _show_tried(tried)
        if keep and not dry_run:
            keepable(keep, tried[-1])
        return _run(tried, options, app, rules)

    scripts = find_scripts(
        task,
        app,
        macros=files.book,
        open_model=chosen.opener,
        config=chosen.beam,
        rules=rules.check_rules(),
        first="model" if model_first else "plans",
    )
    _, report = run_in_turn(task, scripts, run)
    if keep and report.verdict == "verified":
        macro = keep_task(keep, tried[-1], report, files.book)
        typer.echo(f"kept as {macro.name}: {macro.task}")
    end_by_verdict(report)


def _numbered(folder: Path, number: int) -> Path:
    """Of the second script run-2, for run."""
    whole = folder.resolve()
    return folder if number == 1 else whole.with_name(f"{whole.name}-{number}")


def _run(
    tried: Sequence[PreparedTask], options: RunOptions, app: AppDocument, policy: AgentPolicy
) -> RunReport:
    """Run the last one."""
    ready, folder = tried[-1], options.folder
    if folder is not None:
        options = replace(options, folder=_numbered(folder, len(tried)))
    kept = _kept(ready, [one.found for one in tried], dry=options.dry)
    checked, doubts = ready.checked, ready.found.doubts
    return options.run(app, policy, checked, ready.arguments, ready.postconditions, kept, doubts)


def _show_tried(tried: Sequence[PreparedTask]) -> None:
    ready = tried[-1]
    if len(tried) > 1:
        typer.echo("nothing was sent, and another script may fit:")
    found = ready.found
    tokens = f"{found.tokens_in:,} tokens read and {found.tokens_out:,} written"
    named = f"{found.source} {found.name}".strip()
    show_script(ready.checked, f"by {named}, {tokens}", ready.arguments)
    if found.unsaid:
        typer.echo(f"nothing in it stands for: {', '.join(found.unsaid)}")
    for one in found.doubts:
        typer.echo(f"in doubt: it {one}")


def _kept(ready: PreparedTask, tried: Sequence[FoundScript], *, dry: bool) -> KeptTask:
    from adwright.agent.operate.policy_file import KeptTask

    found = ready.found
    said = tuple((name, str(value)) for name, value in ready.arguments.items())
    tokens = (sum(one.tokens_in for one in tried), sum(one.tokens_out for one in tried))
    return KeptTask(ready.task, found.source, found.name, said, *tokens, dry=dry)


# --------------------------------------------------------------------------------------------------
# adwright agent replay, and verify.

#: Exit code of `verify` where an element is gone, or would do something else.
_FAILED = 1


def replay(
    name: str,
    values: list[str] | None = None,
    *,
    document: Path,
    policy: Path | None = None,
    macros: Path | None = None,
    confirm_file: Path | None = None,
    folder: Path | None = None,
    phone: bool = False,
    dry_run: bool = False,
) -> None:
    """Do a kept task again, with other values; no model is asked.

    It is checked against the document as it is now, asks about changes as `do` does, and ends with
    the same verdicts and exit codes.

        adwright agent replay discount item=Autumn share=15 --document shop.txt

    Options:
        name: Of a task that `do --keep` kept.
        values: Its parameters: share=25 item=Spring.
        confirm_file: File of changes that are allowed beforehand, for runs that nobody watches;
            without it each is asked about on the terminal, and refused where there is none.
        folder (--out): For the run: trace, pictures, page; by default a new one.
        dry_run: Let no request leave that may write.
    """
    from adwright.agent.operate.policy_file import KeptTask
    from adwright.agent.operate.tasks import macro_values

    files = AppFiles(document, policy, macros)
    app, rules = files.open()
    macro = files.book.macro(name)
    checked = _checked(macro, app)
    arguments = macro_values(macro, name_values(values, "replay"))
    show_script(checked, f"kept as {macro.name}, 0 tokens", arguments)
    said = tuple((key, str(value)) for key, value in arguments.items())
    report = RunOptions(files, confirm_file, folder, dry_run, phone).run(
        app,
        rules,
        checked,
        arguments,
        macro.postconditions,
        KeptTask(macro.task, "replay", macro.name, said, dry=dry_run),
    )
    end_by_verdict(report)


def verify(
    name: str,
    *,
    document: Path,
    policy: Path | None = None,
    macros: Path | None = None,
    phone: bool = False,
) -> None:
    """Look whether a kept task would still find its elements, without doing it.

    Only links are followed. An element is there, moved (healing would find it), gone, changed (it
    would do something else), or unseen, where no link leads to its page. Exit code 1 where one is
    gone or changed.

        adwright agent verify discount --document shop.txt

    Options:
        name: Of a task that `do --keep` kept.
    """
    from adwright.agent.drivers.chromium import DriverSettings
    from adwright.agent.operate.screens import open_screens
    from adwright.agent.run.runner import survey_script

    files = AppFiles(document, policy, macros)
    app, rules = files.open()
    checked = _checked(files.book.macro(name), app)
    settings = DriverSettings(screen="phone" if phone else "desktop")
    with open_screens(rules, environment=os.environ, settings=settings) as open_driver:
        found = survey_script(checked, app, open_driver, rules.gate_rules(dry=True))
    rows = [(one.name, one.status, one.note) for one in found]
    show_table(("element", "status", "note"), rows, unbroken=True)
    if any(one.status in ("gone", "changed") for one in found):
        raise typer.Exit(_FAILED)


def _checked(macro: Macro, document: AppDocument) -> CheckedScript:
    """The macro's script, checked against the document as it is now."""
    from adwright.agent.language.statements import CheckRules, check_script

    if macro.app != document.app:
        raise ConfigError(
            f"it was kept for the app {macro.app!r}, and the document is of {document.app!r}",
            where=f"macro {macro.name}",
            hint="name the document of its app",
        )
    return check_script(macro.script, document, CheckRules(flows=macro.flows))
