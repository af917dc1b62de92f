"""From the words of a task to a run and a macro."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
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
from adwright.agent.operate.policy_file import (
    AgentPolicy,
    KeptRun,
    KeptTask,
    ReadRun,
    keep_run,
    read_run,
    set_aside,
    write_report,
)
from adwright.agent.operate.tasks import (
    HeldRun,
    HeldRuns,
    HeldView,
    PreparedTask,
    RunsBusyError,
    change_key,
    find_scripts,
    is_untouched,
    keep_task,
    keepable,
    macro_values,
    prepare_task,
    run_in_turn,
)
from adwright.agent.policy.confirmation import FieldChange, PendingChange
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import MacroBook, Postconditions, RunPolicy, RunReport, run_on_screen
from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable
from adwright.core.errors import AdwrightError, ArtifactCorruptError, ConfigError, DataError
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.shop_app import Offer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver
from tests.support.service.small_shop import wait_until

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


EDIT = 'tap(inside(find($offers__rows, "{}"), $offers__edit))\n'
SAVE = "set_text($offer_edit__share, 25)\ntap($offer_edit__save)\n"
# A list that has no such item: its links all say "Edit".
MISSING, THERE = f'tap(find($offers__edit, "Spring"))\n{SAVE}', EDIT.format("Spring") + SAVE


def found(script: str) -> FoundScript:
    return FoundScript(check_script(read_script(script), DOCUMENT), "plan")


class Shop:
    """Runs scripts on one app, and counts."""

    def __init__(self, *, says: bool = True, dry: bool = False, lie: str = "") -> None:
        self.app = ShopApp(lie=lie)
        self.runs: list[RunReport] = []
        self._says, self._dry = says, dry

    def run(self, one: FoundScript) -> RunReport:
        report = run_on_screen(
            one.script,
            DOCUMENT,
            lambda gate: ShopDriver(self.app, gate),
            RunPolicy(POLICY.gate_rules(dry=self._dry), confirm=lambda _: self._says),
            {},
            clock=FixedClock(),
        )
        self.runs.append(report)
        return report


def test_an_item_that_is_not_in_one_list_is_looked_for_in_another() -> None:
    shop = Shop()
    scripts = iter([found(MISSING), found(THERE), found(MISSING)])
    last, report = run_in_turn(TASK, scripts, shop.run)
    assert (report.verdict, shop.app.offers[7].share) == ("done", "25")
    assert last == found(THERE)
    assert [is_untouched(one) for one in shop.runs] == [True, False]
    assert next(scripts) == found(MISSING)  # which nobody has asked for


def test_of_scripts_that_all_stop_the_last_is_told() -> None:
    shop = Shop()
    last, report = run_in_turn(TASK, [found(MISSING), found(MISSING + MISSING)], shop.run)
    assert (last, report) == (found(MISSING + MISSING), shop.runs[1])
    assert len(shop.runs) == 2
    shop = Shop()
    run_in_turn(TASK, [found(MISSING)] * 9, shop.run)
    assert len(shop.runs) == 4


@pytest.mark.parametrize(
    ("task", "after", "runs"),
    [
        # Mistyped: neither the other value is the item, nor is one made of that name.
        ('Rename "Sprnig" to "Autumn"', EDIT.format("Autumn"), 1),
        ('Set the discount of "Sprnig" to 25', "tap($offers__new)\n", 1),
        ('Set the discount of "Sprnig" to 25', EDIT.format("Sprnig"), 2),
        ('Create the offer "Sprnig" with a discount of 25', "tap($offers__new)\n", 2),
    ],
)
def test_another_item_is_never_taken_for_one_that_nobody_finds(
    task: str, after: str, runs: int
) -> None:
    shop = Shop()
    run_in_turn(task, [found(EDIT.format("Sprnig") + SAVE), found(after)], shop.run)
    assert len(shop.runs) == runs


def test_the_plans_of_a_mistyped_task_change_nothing() -> None:
    for task in (
        'Rename "Sprnig" to "Autumn"',
        'Set the discount of "Sprnig" to 25',
        'Give the offer "Sprnig" the name "Autumn"',
        'Delete the offer "Sprnig"',
    ):
        shop = Shop()
        _, report = run_in_turn(task, find_scripts(task, DOCUMENT), shop.run)
        assert (report.verdict, shop.app.writes) == ("stopped", [])


def test_an_item_that_several_may_be_is_not_chosen() -> None:
    shop = Shop()
    shop.app.offers[9] = Offer("Spring")
    _, report = run_in_turn(TASK, [found(THERE), found(THERE)], shop.run)
    assert report.problem is not None
    assert (report.problem.code, len(shop.runs), shop.app.writes) == ("ambiguous", 1, [])


@pytest.mark.parametrize("dry", [False, True])
def test_nothing_is_tried_after_a_no_or_after_what_was_sent(dry: bool) -> None:
    shop = Shop(says=False)
    _, report = run_in_turn(TASK, [found(THERE), found(THERE)], shop.run)
    assert (report.verdict, len(shop.runs), shop.app.writes) == ("stopped", 1, [])
    shop = Shop(dry=dry)
    _, report = run_in_turn(TASK, [found(THERE + MISSING), found(THERE)], shop.run)
    assert (report.verdict, len(shop.runs)) == ("stopped", 1)
    assert not is_untouched(report)


def test_without_a_script_there_is_no_run() -> None:
    def none() -> Iterator[FoundScript]:
        yield from ()

    with pytest.raises(ValueError, match="no script"):
        run_in_turn(TASK, none(), Shop().run)


CHANGE = PendingChange(
    "save", "commit", "POST", "http://h/a", (FieldChange("a", "1", "2"),), 1, documented=True
)


def asking(run: HeldRun) -> list[bool]:
    run.tell("a script")
    return [run.ask(CHANGE), run.ask(replace(CHANGE, number=2))]


def begun(work: Callable[[HeldRun], object], **bounds: float) -> tuple[HeldRuns, HeldRun]:
    runs = HeldRuns(most=2, patience=bounds.get("patience", 30.0))
    return runs, runs.start("acme", "r1", work)


def waits(run: HeldRun, key: str = "") -> HeldView:
    wait_until(lambda: run.view().state == "waiting" and run.view().key != key)
    return run.view()


def test_each_change_waits_for_its_own_yes() -> None:
    _, run = begun(asking)
    first = waits(run)
    assert (first.pending, first.key, first.told) == (CHANGE, change_key("r1", CHANGE), "a script")
    assert not run.answer("another", yes=True)
    assert run.answer(first.key, yes=True)
    assert not run.answer(first.key, yes=False)
    second = waits(run, first.key)
    assert not run.answer(first.key, yes=True)
    assert run.answer(second.key, yes=False)
    wait_until(lambda: run.view().state == "ended")
    assert (run.view().outcome, run.view().pending, run.view().key) == ([True, False], None, "")


def test_hashes_tell_all_that_is_shown() -> None:
    others = (
        replace(CHANGE, number=2),
        replace(CHANGE, url="http://h/b"),
        replace(CHANGE, fields=(FieldChange("a", "1", "3"),)),
        replace(CHANGE, fields=(FieldChange("a", None, "2"),)),
    )
    keys = {change_key("r1", one) for one in (CHANGE, *others)} | {change_key("r2", CHANGE)}
    assert len(keys) == 6


def test_what_nobody_answers_is_refused() -> None:
    _, run = begun(asking, patience=0.01)
    wait_until(lambda: run.view().state == "ended")
    assert run.view().outcome == [False, False]


def test_the_end_of_the_process_refuses() -> None:
    runs, run = begun(asking)
    waits(run)
    runs.close(10.0)
    assert (run.view().state, run.view().outcome) == ("ended", [False, False])
    with pytest.raises(RunsBusyError, match="the service ends"):
        runs.start("umbrella", "r2", asking)


def test_an_owner_has_one_and_all_have_so_many() -> None:
    runs, goes_on = HeldRuns(most=2, patience=30.0), threading.Event()

    def busy(run: HeldRun) -> bool:
        return goes_on.wait(30.0)

    first = runs.start("acme", "r1", busy)
    with pytest.raises(RunsBusyError, match="another run") as caught:
        runs.start("acme", "r2", busy)
    assert caught.value.own
    runs.start("umbrella", "r3", busy)
    with pytest.raises(RunsBusyError, match="too many runs") as caught:
        runs.start("hooli", "r4", busy)
    assert not caught.value.own
    assert runs.find("acme", "r1") is first
    assert (runs.find("umbrella", "r1"), runs.find("acme", "none")) == (None, None)
    goes_on.set()
    runs.close(10.0)


def test_what_waits_leaves_its_place_to_others() -> None:
    runs = HeldRuns(most=2, patience=30.0)
    for number in range(8):
        waits(runs.start(f"owner-{number}", f"r{number}", asking))
    with pytest.raises(RunsBusyError, match="too many changes wait"):
        runs.start("owner-8", "r8", asking)
    runs.close(10.0)


def test_an_owner_whose_run_has_ended_begins_another() -> None:
    runs, run = begun(lambda run: "done")
    wait_until(lambda: run.view().state == "ended")
    other = runs.start("acme", "r2", lambda run: "again")
    wait_until(lambda: other.view().state == "ended")
    assert [runs.find("acme", one).view().outcome for one in ("r1", "r2")] == ["done", "again"]


def test_errors_are_told_and_faults_are_not_described() -> None:
    def broken(run: HeldRun) -> None:
        raise DataError("the document cannot be read")

    def faulty(run: HeldRun) -> None:
        raise RuntimeError("hunter22")

    for work, said in ((broken, "the document cannot be read"), (faulty, "a fault of the service")):
        _, run = begun(work)
        wait_until(lambda run=run: run.view().state == "ended")
        assert said in run.view().error
        assert "hunter22" not in run.view().error


def test_only_one_of_many_answers_counts() -> None:
    _, run = begun(asking)
    key = waits(run).key
    said: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: said.append(run.answer(key, yes=n % 2 == 0)))
        for n in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(said) == 1
    waits(run, key)
    run.close()


KEPT = KeptTask(TASK, "plan", arguments=(("item", "Spring"),), tokens_in=3, tokens_out=4)


class PicturedShop(ShopDriver):
    """Its pictures are what a page takes for one."""

    def picture(self, masked: object = ()) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + self._path.encode()


def kept(folder: Path, *, heal: bool = True) -> tuple[RunReport, str]:
    document = shop_document()
    app = ShopApp(labels={"Offers": "OFFERS"}, test_ids={"home-offers": "x"})
    ready = prepare_task(next(find_scripts(TASK, document)), TASK, document)
    report = run_on_screen(
        ready.checked,
        document,
        lambda gate: PicturedShop(app, gate),
        RunPolicy(GateRules(OriginRules((ORIGIN,))), heal=heal),
        ready.arguments,
        clock=FixedClock(),
        folder=folder,
        postconditions=ready.postconditions,
    )
    return report, keep_run(folder, report, ready.checked.script, KEPT)


def test_a_run_is_read_as_it_was(tmp_path: Path) -> None:
    report, mark = kept(tmp_path)
    found = read_run(tmp_path, mark)
    assert isinstance(found, ReadRun)
    assert (found.task, found.mark, found.report.verdict) == (KEPT, mark, "verified")
    assert (found.report.steps, found.report.written) == (report.steps, report.written)
    assert found.report.healed == report.healed
    assert read_run(tmp_path).mark == mark
    write_report(tmp_path / "again.html", found, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page == (tmp_path / "again.html").read_text("utf-8")
    assert "<title>Set the discount of" in page
    assert "share: &#39;10&#39; -&gt; &#39;25&#39;" in page
    assert page.count("<img") == len([one for one in report.steps if one.picture])


def test_no_more_of_the_app_is_kept_than_its_name(tmp_path: Path) -> None:
    kept(tmp_path)
    content = json.loads((tmp_path / "run.json").read_text("utf-8"))
    run = from_jsonable(KeptRun, content)
    assert (run.report.steps, run.report.document.elements) == ((), ())
    assert run.report.document.app == "shop"


@pytest.mark.parametrize("name", ["trace.jsonl", "run.json", "step-003.png"])
def test_a_change_is_seen(tmp_path: Path, name: str) -> None:
    _, mark = kept(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Spring", b"Autumn") + b" ")
    with pytest.raises(ArtifactCorruptError):
        read_run(tmp_path, mark)
    path.unlink()
    with pytest.raises(AdwrightError):
        read_run(tmp_path, mark)


def test_another_run_in_its_place_is_seen(tmp_path: Path) -> None:
    _, mark = kept(tmp_path / "a")
    kept(tmp_path / "b", heal=False)
    (tmp_path / "a" / "trace.jsonl").write_bytes((tmp_path / "b" / "trace.jsonl").read_bytes())
    with pytest.raises(ArtifactCorruptError, match="not that of this run"):
        read_run(tmp_path / "a")
    assert read_run(tmp_path / "b").report.verdict == "stopped"
    with pytest.raises(ArtifactCorruptError, match="its mark is"):
        read_run(tmp_path / "b", mark)


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run that came to its end"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("[]", "utf-8")
    with pytest.raises(ArtifactCorruptError, match="cannot be read"):
        read_run(tmp_path)


def test_a_run_makes_room_for_another(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "trace.jsonl").write_text(str(number))
        moved = set_aside(folder)
        assert (moved.name, folder.exists()) == (f"run-tried-{number}", False)
        assert (moved / "trace.jsonl").read_text() == str(number)
