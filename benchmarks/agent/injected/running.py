"""A task done as `adwright agent do` does it: careful policy, sign-in, and a yes to all it asks.

    done = run_command(task, app, browser)            # a CommandRun
    done.confirmed                                    # what a person was shown and said yes to

The person of these runs never says no. So whatever is kept from happening, the agent kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from adwright.agent.drivers.chromium import ChromiumBrowser, DriverSettings
from adwright.agent.drivers.protocol import FetchingDriver, RequestGate
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import print_script
from adwright.agent.operate.policy_file import AgentPolicy, SecretEntry, SignInEntry
from adwright.agent.operate.screens import signed_in
from adwright.agent.operate.tasks import PreparedTask, find_scripts, prepare_task, run_in_turn
from adwright.agent.policy.confirmation import CapLedger, PendingChange
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import SystemClock
from benchmarks.agent.injected.front import AppFront, app_front
from benchmarks.agent.tasks._apps import AppName, TaskApp, open_app
from benchmarks.agent.tasks._solved import Solved

#: The secret that the policy names beside the password.
SECRET = "a secret of eleven words"
_SETTINGS = DriverSettings(patience_seconds=6.0, rest_seconds=3.0)


@dataclass(frozen=True)
class CommandRun:
    """solved: as of any system. confirmed: method and place of each change that got a yes.
    would_send: of a dry run."""

    solved: Solved
    confirmed: Counter[tuple[str, str]]
    would_send: tuple[PendingChange, ...] = ()


@contextmanager
def fronted_app(
    name: AppName, folder: Path, browser: ChromiumBrowser
) -> Iterator[tuple[TaskApp, AppFront]]:
    """An app over a fresh database in `folder`, behind a proxy that writes down what arrives."""
    fronts: list[AppFront] = []

    @contextmanager
    def front(url: str) -> Iterator[str]:
        with app_front(url) as made:
            fronts.append(made)
            yield made.url

    with open_app(name, folder, browser, front) as app:
        yield app, fronts[0]


def careful_policy(app: TaskApp) -> tuple[AgentPolicy, Mapping[str, str]]:
    """The policy that `explore` writes for the app, and the environment that it reads."""
    environment = {"SHOP_SECRET": SECRET}
    sign_in = None
    login, values = app.sign_in
    if values:
        names = {name: f"SHOP_{name.upper()}" for name in values}
        environment |= {names[name]: value for name, value in values.items()}
        sign_in = SignInEntry(login, names)
    fields = tuple(one.name for one in app.document.elements if one.value_type == "secret")
    secrets = (SecretEntry("shop", "SHOP_SECRET", fields),) if fields else ()
    return AgentPolicy(OriginRules((app.url,)), secrets=secrets, sign_in=sign_in), environment


def run_command(
    text: str, app: TaskApp, browser: ChromiumBrowser, *, dry: bool = False
) -> CommandRun:
    """One task, on a screen that is signed in for it; no model is asked."""
    policy, environment = careful_policy(app)
    asked: list[PendingChange] = []
    runs: list[tuple[PreparedTask, RunReport]] = []

    def yes(change: PendingChange) -> bool:
        asked.append(change)
        return True

    with TemporaryDirectory() as folder:
        clock = SystemClock()
        rules = RunPolicy(
            policy.gate_rules(dry=dry),
            confirm=yes,
            caps=CapLedger(Path(folder) / "caps.json", policy.caps, clock=clock),
            secrets=policy.keeper(environment),
            heal=policy.heal,
        )

        def run(found: FoundScript) -> RunReport:
            ready = prepare_task(found, text, app.document)
            with ExitStack() as stack:

                def driver(gate: RequestGate) -> FetchingDriver:
                    return stack.enter_context(browser.driver(gate, _SETTINGS))

                report = run_on_screen(
                    ready.checked,
                    app.document,
                    lambda gate: signed_in(driver, gate, policy, environment),
                    rules,
                    ready.arguments,
                    clock=clock,
                    postconditions=ready.postconditions,
                    budget=policy.budget,
                )
            runs.append((ready, report))
            return report

        try:
            run_in_turn(text, find_scripts(text, app.document, rules=policy.check_rules()), run)
        except ScriptError as error:
            return CommandRun(Solved("none", problem=str(error.problems[0])), Counter())
    ready, report = runs[-1]
    places = Counter((one.method, one.url.removeprefix(app.url)) for one in asked)
    would_send = tuple(change for _, one in runs for change in one.would_send)
    return CommandRun(_solved(report, ready, len(asked)), places, would_send)


def _solved(report: RunReport, ready: PreparedTask, confirmed: int) -> Solved:
    return Solved(
        report.verdict,
        report.answers,
        str(report.problem or ""),
        print_script(ready.checked.script),
        ready.found.source,
        page_seconds=report.seconds,
        acts=report.acts,
        confirmed=confirmed,
        writes=len(report.written),
    )
