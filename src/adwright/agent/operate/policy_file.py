"""The policy of an app, in a TOML file beside its document: what an agent may do there.

    policy = load_policy("shop.policy.toml")
    policy.require(document)                  # the app's origins are listed
    policy.gate_rules(dry=True), policy.check_rules(), policy.keeper(os.environ)

What a file leaves out has the careful value: nothing but the listed origins, a person asked about
everything that writes. Secrets are named by the environment variables that hold them; a value never
stands in the file. `policy_text` writes a file with all keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Literal

from adwright.agent.document.elements import AppDocument, EffectClass
from adwright.agent.language.problems import RunBudget
from adwright.agent.language.script import Script, print_script, read_script
from adwright.agent.language.statements import CheckRules
from adwright.agent.policy.confirmation import (
    CapRules,
    Confirmer,
    ConfirmRules,
    PendingChange,
    SecretKeeper,
    SecretRule,
)
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import FlowRule, OriginRules, matching_shape, origin_of
from adwright.agent.run.runner import RunReport, run_page
from adwright.agent.run.trace import read_sending, read_trace
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import Count, from_jsonable, load_toml, settings, to_jsonable
from adwright.core.errors import AdwrightError, ArtifactCorruptError, ConfigError, ResourceError
from adwright.core.hashing import sha256_bytes, sha256_file
from adwright.core.regular import read_regular

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,79}")


@settings
class AskedEffects(ConfirmRules):
    """Which writes a person is asked about: all, unless the file says otherwise."""

    ask: tuple[EffectClass, ...] = ("commit", "message", "spend", "destructive", "unknown")


@settings
class SecretEntry:
    """A secret that scripts name as secret("NAME"). variable: of the environment, with its value.
    elements: names in the document that it may be typed into. origins: where; empty for all that
    are listed. masked: only into fields that hide what is typed."""

    name: str
    variable: str
    elements: tuple[str, ...]
    origins: tuple[str, ...] = ()
    masked: bool = True

    def __post_init__(self) -> None:
        _require_variable(self.variable, f"secrets {self.name}")


@settings
class SignInEntry:
    """How one signs in. url: of the page with the form; post: that it is sent to, empty for the
    same. fields: names or labels of its fields, each with the environment variable of its value."""

    url: str
    fields: Mapping[str, str]
    post: str = ""

    def __post_init__(self) -> None:
        for one in (self.url, self.post or self.url):
            if origin_of(one) is None:
                raise ConfigError(
                    f"{one!r} is no page of a server", where="sign_in.url", hint="use http or https"
                )
        if not self.fields:
            raise ConfigError(
                "a sign-in fills at least one field",
                where="sign_in.fields",
                hint='add one, as in password = "SHOP_PASSWORD", which names a variable',
            )
        for name, variable in self.fields.items():
            _require_variable(variable, f"sign_in.fields, {name}")

    def values(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What is typed into each field. Raises ConfigError for a variable that is not set."""
        return {name: _value(one, environment) for name, one in self.fields.items()}


@settings
class AgentPolicy:
    """All that a person decides about an app beforehand.

    reach: where requests may go. confirm: what is asked about. caps: writes and amounts, of a run
    and of a day. budget: what one run may use; time in which a person is waited for does not count.
    flows: data from pages that may go into fields. secrets, sign_in: where values of the
    environment are typed. unknown: elements of unknown effect may be acted on, after a yes. heal:
    look for elements that are no longer where they were.
    """

    reach: OriginRules
    confirm: AskedEffects = field(default_factory=AskedEffects)
    caps: CapRules = field(default_factory=CapRules)
    budget: RunBudget = field(default_factory=RunBudget)
    flows: tuple[FlowRule, ...] = ()
    secrets: tuple[SecretEntry, ...] = ()
    sign_in: SignInEntry | None = None
    unknown: bool = False
    heal: bool = False

    def __post_init__(self) -> None:
        listed = {origin_of(one) for one in self.reach.origins}
        if not listed:
            raise ConfigError(
                "no origin is listed, so nothing could be opened",
                where="reach.origins",
                hint='list that of the app, as in "https://shop.example"',
            )
        if self.sign_in is not None:
            for one in (self.sign_in.url, self.sign_in.post or self.sign_in.url):
                if origin_of(one) not in listed:
                    raise ConfigError(
                        "the sign-in is at an origin that is not listed",
                        where=f"sign_in.url {one}",
                        hint="list it in reach.origins",
                    )

    def require(self, document: AppDocument) -> None:
        """Raise ConfigError where the app of a document lives at an origin that is not listed."""
        listed = {origin_of(one) for one in self.reach.origins}
        for one in document.origins:
            if origin_of(one) not in listed:
                raise ConfigError(
                    f"the policy does not list {one}, where {document.app} lives",
                    where="reach.origins",
                    hint="list it, or take the policy of this app",
                )

    def gate_rules(self, *, dry: bool = False) -> GateRules:
        """What the gate lets through. dry: nothing that may write."""
        return GateRules(self.reach, self.confirm, dry=dry, unknown=self.unknown)

    def check_rules(self) -> CheckRules:
        """What scripts are checked by."""
        return CheckRules(forbidden=() if self.unknown else ("unknown",), flows=self.flows)

    def keeper(self, environment: Mapping[str, str]) -> SecretKeeper:
        """The secrets, each read from the environment when it is typed."""
        variables = {one.name: one.variable for one in self.secrets}
        rules = tuple(
            SecretRule(one.name, one.origins or self.reach.origins, one.elements, one.masked)
            for one in self.secrets
        )
        return SecretKeeper(rules, value_of=lambda name: environment[variables[name]])


def load_policy(path: str | Path) -> AgentPolicy:
    """The policy of a file. Raises ConfigError naming the file, the key and what to do."""
    if not Path(path).exists():
        raise ConfigError(
            "there is no policy for this app",
            where=str(path),
            hint="`adwright agent explore` writes a careful one, `adwright agent policy --example "
            "URL` prints it; read it before you rely on it",
        )
    return load_toml(path, AgentPolicy)


def policy_text(origin: str, *, sign_in: SignInEntry | None = None) -> str:
    """A careful policy as TOML, with all keys. Raises ConfigError for what is no origin."""
    policy = AgentPolicy(OriginRules((origin,)), sign_in=sign_in)
    template = files(__package__).joinpath("policy.template").read_text("utf-8")
    lines = template.format(
        **{"origin": json.dumps(origin), "ask": json.dumps(list(policy.confirm.ask))},
        **{"confirm": policy.confirm, "caps": policy.caps, "budget": policy.budget},
    )
    if sign_in is None:
        return lines
    lines = lines[: lines.index("\n# [sign_in]")]
    fields = "".join(f"{json.dumps(a)} = {json.dumps(b)}\n" for a, b in sign_in.fields.items())
    post = f"post = {json.dumps(sign_in.post)}\n" if sign_in.post else ""
    return (
        f"{lines}\n# Fields, and the environment variables that hold what is typed.\n[sign_in]\n"
        f"url = {json.dumps(sign_in.url)}\n{post}\n[sign_in.fields]\n{fields}"
    )


def _require_variable(name: str, where: str) -> None:
    if not _VARIABLE.fullmatch(name):
        # Not repeated: it may be the value that somebody has typed in the place of its name.
        raise ConfigError(
            "this is no name of an environment variable",
            where=where,
            hint="write the variable's name, in capitals, as SHOP_PASSWORD; its value is read when "
            "it is typed",
        )


def _value(variable: str, environment: Mapping[str, str]) -> str:
    found = environment.get(variable, "")
    if not found:
        raise ConfigError(
            f"the environment variable {variable} is not set",
            where="sign_in.fields",
            hint=f"export {variable}, or correct the policy",
        )
    return found


# --------------------------------------------------------------------------------------------------
# Changes that a person has allowed beforehand, in a file: for runs that nobody watches.
#
#     allowed = load_allowances("nightly.allow.toml")
#     allowed(change)                     # True for a change that the file names, and not too often
#
#     [[allow]]
#     request = "POST /offers/{}/"        # its shape; of other methods and paths nothing is allowed
#     changes = ["share"]                 # fields that may differ from what stood there
#     values = {share = "25"}             # and what they must be; left out, any value
#     effects = ["commit"]
#     most = 3                            # in a run
#
# A change is allowed where the document knows its request and each field that differs, or of which
# nobody saw what stood there, is named in `changes`. All else is a no. It is a `Confirmer`.


@settings
class ChangeAllowance:
    """One kind of change. request: "METHOD /path" with {} for one part of it. changes: names of
    fields that may differ. values: what fields must be. effects: of the element that is acted on.
    most: so often in a run."""

    request: str
    changes: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    effects: tuple[EffectClass, ...] = ("commit",)
    most: Count = 1

    def __post_init__(self) -> None:
        method, _, path = self.request.partition(" ")
        if not method.isupper() or not path.startswith("/"):
            raise ConfigError(
                f"{self.request!r} is no request",
                where="allow.request",
                hint="write METHOD /path, as in POST /offers/{}/",
            )
        if "unknown" in self.effects:
            raise ConfigError(
                "what is of unknown effect cannot be allowed beforehand",
                where="allow.effects",
                hint="say the effect in the document",
            )

    def covers(self, change: PendingChange) -> bool:
        """Whether this change is of the kind."""
        if not change.documented or change.effect not in self.effects:
            return False
        if matching_shape(change.method, change.url, [self.request]) is None:
            return False
        sent = {one.name: one.new for one in change.fields}
        if any(sent.get(name) != value for name, value in self.values.items()):
            return False
        differ = {one.name for one in change.fields if one.old is None or one.old != one.new}
        return differ <= set(self.changes)


@settings
class AllowanceFile:
    """What the file holds."""

    allow: tuple[ChangeAllowance, ...]


class AllowedChanges:
    """Says yes to what is allowed, each as often as it may be; of one run."""

    def __init__(self, allowances: tuple[ChangeAllowance, ...]) -> None:
        self._allowances = allowances
        self._used = [0] * len(allowances)

    def __call__(self, change: PendingChange) -> bool:
        for number, one in enumerate(self._allowances):
            if self._used[number] < one.most and one.covers(change):
                self._used[number] += 1
                return True
        return False


def load_allowances(path: str | Path) -> AllowedChanges:
    """Those of a TOML file. Raises ConfigError naming the file, the key and what to do."""
    return AllowedChanges(load_toml(path, AllowanceFile).allow)


def allowance_text(change: PendingChange, shapes: tuple[str, ...]) -> str:
    """What a file would hold to allow this very change once. shapes: requests that the document
    knows of its element; empty where none of them fits."""
    shape = matching_shape(change.method, change.url, shapes)
    if shape is None or not change.documented or change.effect == "unknown":
        return ""
    differ = [one for one in change.fields if one.old is None or one.old != one.new]
    values = ", ".join(f"{json.dumps(one.name)} = {json.dumps(one.new)}" for one in differ)
    return (
        f"[[allow]]\nrequest = {json.dumps(shape)}\n"
        f"changes = {json.dumps([one.name for one in differ])}\nvalues = {{{values}}}\n"
        f'effects = ["{change.effect}"]\nmost = 1\n'
    )


# --------------------------------------------------------------------------------------------------
# A clock that does not count the time in which a person is waited for.
#
#     clock = PatientClock(SystemClock())
#     confirm = clock.patient(ask)          # a Confirmer; while it asks, the clock stands still
#
# Budgets and the patience of a driver go by it, so that a run does not end because somebody thinks.


class PatientClock:
    """waited: seconds that were spent so."""

    def __init__(self, clock: Clock) -> None:
        self.waited = 0.0
        self._clock = clock

    def now(self) -> datetime:
        """The current moment; it goes on while somebody is waited for."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, without those that were waited."""
        return self._clock.monotonic() - self.waited

    def patient(self, confirm: Confirmer) -> Confirmer:
        """Wrap a confirmer; time spent waiting for a person is excluded from the budget."""

        def ask(change: PendingChange) -> bool:
            start = self._clock.monotonic()
            try:
                return confirm(change)
            finally:
                self.waited += self._clock.monotonic() - start

        return ask


# --------------------------------------------------------------------------------------------------
# A run's folder: its trace, its pictures, what came of it, and a page; checked when read again.
#
#     mark = keep_run(folder, report, ready.checked.script, KeptTask("Set the discount ..."))
#     read_run(folder, mark)           # ArtifactCorruptError where anything was changed
#
#     trace.jsonl     step by step, each line with the hash of the one before
#     step-001.png    pictures
#     run.json        verdict, changes, script, and the hashes of all of the above
#     report.html     the same for people
#
# The mark is the hash of run.json, and so of everything: who has noted it sees any later change.

_RUN, _TRACE, _PAGE = "run.json", "trace.jsonl", "report.html"
_MOST_BYTES = 64 << 20


@settings
class KeptTask:
    """What was asked, and how its script was made. name: of the macro."""

    task: str
    source: Literal["macro", "plan", "model", "replay"] = "plan"
    name: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    dry: bool = False


@settings
class KeptRun:
    """run.json. report: without its steps, which the trace holds, and with no more of the document
    than its name and version. trace: its SHA-256; pictures: names and SHA-256."""

    task: KeptTask
    script: tuple[str, ...]
    report: RunReport
    trace: str
    pictures: tuple[tuple[str, str], ...] = field(default=())


@settings
class ReadRun:
    """A run as it was kept; mark: see above."""

    task: KeptTask
    script: Script
    report: RunReport
    mark: str


def keep_run(folder: Path, report: RunReport, script: Script, task: KeptTask) -> str:
    """Write run.json and the page beside the trace; the mark. Raises ResourceError where the folder
    cannot be written."""
    names = sorted({one.picture for one in report.steps if one.picture})
    start = report.document.state_by_name[report.document.start]
    little = replace(report.document, states=(start,), elements=(), edges=())
    kept = KeptRun(
        task,
        tuple(print_script(script).splitlines()),
        replace(report, steps=(), document=little),
        sha256_file(folder / _TRACE),
        tuple((name, sha256_file(folder / name)) for name in names),
    )
    text = json.dumps(to_jsonable(kept), indent=1) + "\n"
    atomic_write_text(folder / _RUN, text, mode=0o600)
    mark = sha256_bytes(text.encode())
    write_report(folder / _PAGE, ReadRun(task, script, report, mark), folder)
    return mark


def read_run(folder: Path, mark: str = "") -> ReadRun:
    """The run of a folder. mark: that `keep_run` returned; empty where nobody noted it.

    Raises ArtifactCorruptError naming what does not fit; ConfigError where there is no run.
    """
    path = folder / _RUN
    if not path.is_file():
        raise _unended(folder)
    try:
        data = read_regular(path, most=_MOST_BYTES)
        kept = from_jsonable(KeptRun, json.loads(data), source=str(path))
        script = read_script("\n".join(kept.script))
    except (OSError, ValueError, RecursionError, AdwrightError) as error:
        raise _broken(path, f"it cannot be read: {error}") from error
    found = sha256_bytes(data)
    if mark and found != mark.lower():
        raise _broken(path, f"its mark is {found}")
    steps, verdict = read_trace(folder / _TRACE)
    if kept.trace != sha256_file(folder / _TRACE) or verdict != kept.report.verdict:
        raise _broken(folder / _TRACE, "it is not that of this run")
    for name, digest in kept.pictures:
        picture = folder / Path(name).name
        if not picture.is_file() or sha256_file(picture) != digest:
            raise _broken(picture, "the picture is gone, or another one")
    return ReadRun(kept.task, script, replace(kept.report, steps=steps), found)


def set_aside(folder: Path) -> Path:
    """Give a run's folder another name, as another run of its task takes its place; the new one."""
    number = 1
    while (other := folder.with_name(f"{folder.name}-tried-{number}")).exists():
        number += 1
    try:
        return folder.rename(other)
    except OSError as error:
        raise ResourceError(
            f"the folder of a run cannot be moved: {error.strerror}",
            where=str(folder),
            hint="look at its rights, and at what else uses it",
        ) from error


def write_report(path: Path, run: ReadRun, folder: Path) -> None:
    """Write the page of a run. folder: where its pictures lie."""
    title = run.task.task or f"macro {run.task.name}"
    page = run_page(run.report, run.script, title=title, folder=folder)
    atomic_write_text(path, page, mode=0o600)


def _unended(folder: Path) -> ConfigError:
    """There is no end of this run: what it sent, and what it may have sent."""
    left = read_sending(folder / _TRACE)
    sent, unknown = (
        "; ".join(one.sentence() for one in part) for part in (left.sent, left.unknown)
    )
    if unknown:
        what = f"the run was killed as it sent: {unknown}"
        what += f"; sent before: {sent}" if sent else ""
        hint = "whether it was sent nobody knows: look at the app before you do it again"
    elif sent:
        what = f"the run was killed after it sent: {sent}"
        hint = "look at the app before you do it again"
    else:
        what = "there is no run that came to its end"
        hint = "name the folder that `adwright agent do` or `replay` wrote"
    return ConfigError(what, where=str(folder), hint=hint)


def _broken(path: Path, why: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(
        f"the run was changed after it ended: {why}",
        where=str(path),
        hint="do not rely on it",
    )
