"""From the words of a task to a run and a macro."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from adwright.agent.drivers.protocol import ScreenNode
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import print_script, read_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.policy_file import AgentPolicy
from adwright.agent.operate.tasks import (
    PreparedTask,
    find_scripts,
    keep_task,
    keepable,
    macro_values,
    prepare_task,
)
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.macros import MacroBook, Postconditions
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.shop_app import Offer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()
TASK = 'Set the discount of "Spring" to 25'
ODD = "Kindly see to the correspondence"
POLICY = AgentPolicy(OriginRules((ORIGIN,)))


def run(ready: PreparedTask, app: ShopApp, answer: bool = True) -> RunReport:
    return run_on_screen(
        ready.checked,
        DOCUMENT,
        lambda gate: ShopDriver(app, gate),
        RunPolicy(POLICY.gate_rules(), confirm=lambda change: answer),
        ready.arguments,
        clock=FixedClock(),
        postconditions=ready.postconditions,
    )


def prepared(task: str, book: MacroBook | None = None) -> PreparedTask:
    return prepare_task(next(find_scripts(task, DOCUMENT, macros=book)), task, DOCUMENT)


def test_a_plan_is_verified_kept_and_found_again(tmp_path: Path) -> None:
    book, app = MacroBook(tmp_path), ShopApp()
    ready = prepared(TASK, book)
    assert (ready.found.source, ready.arguments) == (
        "plan",
        {"item": "Spring", "share": Decimal(25)},
    )
    report = run(ready, app)
    assert (report.verdict, app.offers[7].share) == ("verified", "25")
    macro = keep_task("discount", ready, report, book)
    assert book.macro("discount") == macro
    again = prepared('Set the discount of "Autumn" to 15', book)
    assert (again.found.source, again.found.name, again.general) == ("macro", "discount", None)
    assert run(again, app).verdict == "verified"
    assert app.offers[8].share == "15"
    with pytest.raises(ConfigError, match="by the macro discount already"):
        keep_task("twice", again, report, book)


def test_a_lie_is_seen_and_a_no_is_one(tmp_path: Path) -> None:
    assert run(prepared(TASK), ShopApp(lie="silent")).verdict == "contradicted"
    app = ShopApp()
    report = run(prepared(TASK), app, answer=False)
    assert (report.verdict, app.writes) == ("stopped", [])
    with pytest.raises(ConfigError, match="stopped, not verified"):
        keep_task("discount", prepared(TASK), report, MacroBook(tmp_path))


def test_what_only_reads_has_nothing_to_be_verified() -> None:
    ready = prepared("How many offers are there?")
    assert (ready.postconditions, run(ready, ShopApp()).answers) == (None, ("2",))
    with pytest.raises(ConfigError, match="no replay could be verified"):
        keepable("count", ready)


def test_a_model_is_opened_only_where_it_must_be() -> None:
    opened: list[bool] = []

    @contextmanager
    def open_model() -> Iterator[LanguageModel]:
        opened.append(True)
        yield ScriptedModel(ScriptedConfig(('set_text($mail__to, "a")\ntap($mail__send)\n',)))

    scripts = find_scripts(TASK, DOCUMENT, open_model=open_model)
    assert next(scripts).source == "plan"
    assert opened == []
    assert {one.source for one in scripts} <= {"plan"}
    assert opened == []
    found = next(find_scripts(ODD, DOCUMENT, open_model=open_model))
    assert (found.source, opened) == ("model", [True])
    assert found.tokens_in > 0
    with pytest.raises(ScriptError, match="no plan fits"):
        next(find_scripts(ODD, DOCUMENT))
    ready = prepare_task(found, ODD, DOCUMENT)
    # The words of the task hold no value, so the script stays as it is; its request is looked at.
    assert print_script(ready.checked.script).startswith('set_text($mail__to, "a")')
    assert ready.postconditions is not None
    assert ready.postconditions.requests == ("POST /mail/",)


def test_arguments_of_a_macro_are_texts_of_a_kind(tmp_path: Path) -> None:
    book = MacroBook(tmp_path)
    ready = prepared(TASK)
    macro = keep_task("discount", ready, run(ready, ShopApp()), book)
    given = macro_values(macro, {"item": "Autumn", "share": "12.5"})
    assert given == {"item": "Autumn", "share": Decimal("12.5")}
    for pairs, said in (
        ({"item": "a", "share": "many"}, "no number"),
        ({"item": "a"}, "'share' is missing"),
        ({"item": "a", "share": "1", "shar": "1"}, "no parameter 'shar'"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            macro_values(macro, pairs)
        assert "share" in caught.value.hint


def test_what_cannot_be_a_macro_is_looked_up_all_the_same() -> None:
    task = 'The discount of "Spring", 25 it is; of "Spring" 25'
    found = next(find_scripts(TASK, DOCUMENT))
    ready = prepare_task(found, task, DOCUMENT)
    assert (ready.general, ready.arguments) == (None, {"item": "Spring", "share": Decimal(25)})
    assert ready.postconditions is not None
    assert ready.postconditions.check is not None
    assert run(ready, ShopApp()).verdict == "verified"
    assert run(ready, ShopApp(lie="silent")).verdict == "contradicted"


def test_what_a_form_adds_is_not_looked_for_in_its_field() -> None:
    assert DOCUMENT.by_name["offer_edit__name"].constraints.required
    open_first = "tap(inside($offers__rows[0], $offers__edit))\n"
    script = f'{open_first}set_text($offer_edit__name, "Summer")\ntap($offer_edit__save)\n'
    check = f'{open_first}expect(get_attributes($offer_edit__name, "value") == "Winter")\n'
    wanted = Postconditions(("POST /offers/{}/",), read_script(check))
    found = FoundScript(check_script(read_script(script), DOCUMENT), "plan")
    ready = PreparedTask(TASK, found, found.script, postconditions=wanted)
    assert run(ready, ShopApp()).verdict == "contradicted"
    app = ShopApp()
    app.offers[7] = Offer("")  # a required field that is empty is one for something new
    assert (run(ready, app).verdict, app.offers[7].name) == ("done", "Summer")


def test_a_deletion_that_sends_nothing_is_none() -> None:
    class Deaf(ShopDriver):
        """Its last button does nothing, and the list that is looked at afterwards is another."""

        def tap(self, node: ScreenNode) -> None:
            if node.name != "Yes, delete":
                super().tap(node)

    elements = tuple(
        replace(one, requests=(), target=None) if one.name == "offer_delete__confirm" else one
        for one in DOCUMENT.elements
    )
    document = replace(DOCUMENT, elements=elements)
    task = 'Delete the offer "Spring"'
    ready = prepare_task(next(find_scripts(task, document)), task, document)
    app = ShopApp()
    report = run_on_screen(
        ready.checked,
        document,
        lambda gate: Deaf(app, gate),
        RunPolicy(POLICY.gate_rules(), confirm=lambda change: True),
        ready.arguments,
        clock=FixedClock(),
        postconditions=ready.postconditions,
    )
    assert report.problem is not None
    assert (report.verdict, report.problem.code) == ("stopped", "wrong_state")
    assert "nothing was sent" in report.problem.what
