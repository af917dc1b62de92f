"""Scripts on the screen of the shop in memory: verdicts, and what stops a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from adwright.agent.drivers.protocol import GateDecision, PendingRequest, RequestGate, SeenRequest
from adwright.agent.explore.explorer import (
    ExploreBounds,
    PageRecords,
    ReadingGate,
    build_document,
    explore,
)
from adwright.agent.language.problems import RunBudget, ScriptError
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import CheckRules, check_script
from adwright.agent.policy.confirmation import (
    CapLedger,
    CapRules,
    PendingChange,
    SecretKeeper,
    SecretRule,
)
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import FlowRule, OriginRules
from adwright.agent.run.runner import (
    Macro,
    MacroBook,
    Postconditions,
    RunPolicy,
    RunReport,
    check_postconditions,
    macro_of,
    missing_requests,
    own_arguments,
    renamed_arguments,
    run_on_screen,
    run_page,
    survey_script,
)
from adwright.agent.run.trace import read_trace
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError, FileUnreadableError
from tests.support.agent.hostile import HostilePage, hostile_pages
from tests.support.agent.macros import run_macro
from tests.support.agent.shop_app import Offer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.browsing import chromium_or_skip

DOCUMENT = shop_document()
POLICY = RunPolicy(GateRules(OriginRules((ORIGIN,))))
EDIT = """
param code: text
param share: number
tap(inside(match($offers__rows, code)[0], $offers__edit))
set_text($offer_edit__share, share)
tap($offer_edit__save)
"""
CHECK = """
param code: text
param share: number
tap(inside(match($offers__rows, code)[0], $offers__edit))
expect(number(get_attributes($offer_edit__share, "value")) == share)
"""
ARGUMENTS = {"code": "Spring", "share": Decimal("25")}
HOLDS = Postconditions(("POST /offers/{}/",), read_script(CHECK))


def run(
    source: str,
    app: ShopApp,
    policy: RunPolicy = POLICY,
    *,
    arguments: dict[str, object] | None = None,
    postconditions: Postconditions | None = None,
    on_page: dict[str, PendingRequest] | None = None,
    rules: CheckRules | None = None,
    folder: Path | None = None,
    budget: RunBudget | None = None,
    doubts: tuple[str, ...] = (),
) -> RunReport:
    checked = check_script(read_script(source), DOCUMENT, rules)
    return run_on_screen(
        checked,
        DOCUMENT,
        lambda gate: ShopDriver(app, gate, on_page=on_page),
        policy,
        arguments or {},  # type: ignore[arg-type]
        clock=FixedClock(),
        folder=folder,
        postconditions=postconditions,
        budget=budget,
        doubts=doubts,
    )


def yes(change: PendingChange) -> bool:
    return True


def test_a_write_is_made_and_verified(tmp_path: Path) -> None:
    app = ShopApp()
    report = run(EDIT, app, arguments=ARGUMENTS, postconditions=HOLDS, folder=tmp_path / "run")
    assert (report.verdict, report.problem) == ("verified", None)
    assert app.offers[7] == Offer("Spring", "25")
    (change,) = report.written
    (share,) = [one for one in change.fields if one.name == "share"]
    assert (share.old, share.new) == ("10", "25")
    steps, verdict = read_trace(tmp_path / "run" / "trace.jsonl")
    assert (steps, verdict) == (report.steps, "verified")
    acts = [(one.verb, one.element, one.how, one.before, one.after) for one in steps]
    assert acts[:5] == [
        ("open", "", "route", "", "home"),
        ("tap", "home__offers", "route", "home", "offers"),
        ("tap", "offers__edit", "script", "offers", "offer_edit"),
        ("set_text", "offer_edit__share", "script", "offer_edit", "offer_edit"),
        ("tap", "offer_edit__save", "script", "offer_edit", "offers"),
    ]
    assert [one.decision for one in steps[4].requests] == ["allowed", "allowed"]
    assert (tmp_path / "run" / steps[4].picture).is_file()


def test_without_postconditions_a_run_is_only_done() -> None:
    app = ShopApp()
    report = run("answer(len($offers__rows))", app)
    assert (report.verdict, report.answers) == ("done", ("2",))
    assert app.writes == []


def test_an_answer_in_doubt_is_not_done() -> None:
    report = run("answer(len($offers__rows))", ShopApp(), doubts=("counts rows",))
    assert (report.verdict, report.answers) == ("doubted", ("2",))
    assert report.problem is not None
    assert report.problem.what == "counts rows"


def test_a_change_in_doubt_is_asked_about_and_then_it_is_one() -> None:
    app, shown = ShopApp(), list[str]()
    report = run(EDIT, app, arguments=ARGUMENTS, doubts=("fills Discount twice",))
    assert (report.verdict, app.writes) == ("stopped", [])

    def asked(change: PendingChange) -> bool:
        shown.append(change.sentence())
        return True

    policy = replace(POLICY, confirm=asked)
    report = run(EDIT, app, policy, arguments=ARGUMENTS, doubts=("fills Discount twice",))
    assert report.verdict == "done"
    assert "in doubt: fills Discount twice" in shown[0]


@pytest.mark.parametrize(("lie", "verdict"), [("status", "stopped"), ("silent", "contradicted")])
def test_a_backend_that_lies_is_caught(lie: str, verdict: str) -> None:
    app = ShopApp(lie=lie)  # type: ignore[arg-type]
    report = run(EDIT, app, arguments=ARGUMENTS, postconditions=HOLDS)
    assert app.banner == "Saved"
    assert report.verdict == verdict
    assert report.problem is not None
    assert report.problem.code in ("effect", "expectation")
    assert app.offers[7].share == "10"


def test_a_form_with_errors_stops_the_run() -> None:
    app = ShopApp()
    app.offers[7] = Offer("Spring")
    source = "tap(inside($offers__rows[0], $offers__edit))\ntap($offer_edit__save)"
    app.offers[7] = Offer("")
    report = run(source, app)
    assert report.verdict == "stopped"
    assert report.problem is not None
    assert (report.problem.code, report.problem.line) == ("wrong_state", 2)
    assert "may have errors" in report.problem.hint


def test_a_dry_run_writes_nothing_and_says_all() -> None:
    app = ShopApp()
    policy = replace(POLICY, gate=replace(POLICY.gate, dry=True))
    source = EDIT + 'set_text($mail__to, "a")\ntap($mail__send)\n'
    report = run(source, app, policy, arguments=ARGUMENTS)
    assert report.verdict == "dry"
    assert app.writes == []
    shapes = [(one.element, one.effect) for one in report.would_send]
    assert shapes == [("offer_edit__save", "commit"), ("mail__send", "message")]
    assert ("share", "25") in [(one.name, one.new) for one in report.would_send[0].fields]


DELETE = """
tap(inside($offers__rows[0], $offers__edit))
tap($offer_edit__delete)
tap($offer_delete__confirm)
"""


@pytest.mark.parametrize("said", [True, False])
def test_a_person_decides_on_what_destroys(said: bool) -> None:
    app = ShopApp()
    asked: list[str] = []

    def confirm(change: PendingChange) -> bool:
        asked.append(change.sentence())
        return said

    report = run(DELETE, app, replace(POLICY, confirm=confirm))
    assert asked == [
        "destructive: POST /offers/7/delete/ of 'Spring 10% Open', on 'Delete offer'; 1 of this run"
    ]
    assert report.verdict == ("done" if said else "stopped")
    assert (7 in app.offers) != said


HOSTILE: dict[str, PendingRequest] = {
    "post": PendingRequest("POST", f"{ORIGIN}/offers/8/delete/", "fetch"),
    "beacon": PendingRequest("POST", f"{ORIGIN}/mail/", "beacon"),
}


def test_a_page_that_writes_by_itself_stops_the_run() -> None:
    app = ShopApp()
    report = run("tap($home__offers)\nback()", app, on_page={"/offers/": HOSTILE["post"]})
    assert report.verdict == "stopped"
    assert report.problem is not None
    assert report.problem.code == "effect"
    assert app.writes == []
    report = run("tap($home__offers)", app, on_page={"/": HOSTILE["post"]})
    assert report.verdict == "stopped"
    report = run("tap($home__offers)", app, on_page={"/offers/": HOSTILE["beacon"]})
    assert (report.verdict, app.writes) == ("done", [])


def test_a_page_that_sends_other_values_than_were_typed_stops_the_run() -> None:
    app = ShopApp()

    def opened(gate: RequestGate) -> ShopDriver:
        def changed(request: PendingRequest) -> GateDecision:
            cheap = {**request.fields, "share": "90"} if request.fields else {}
            return gate(replace(request, fields=cheap))

        return ShopDriver(app, changed)

    checked = check_script(read_script(EDIT), DOCUMENT)
    policy = replace(POLICY, confirm=yes)
    report = run_on_screen(checked, DOCUMENT, opened, policy, ARGUMENTS, clock=FixedClock())
    assert report.verdict == "stopped"
    assert report.problem is not None
    assert "'25' stands there" in report.problem.what
    assert (report.written, app.writes) == ((), [])


def test_a_button_that_does_something_else_is_not_tapped() -> None:
    app = ShopApp(actions={"Save": "/offers/7/delete/"})
    report = run(EDIT, app, replace(POLICY, confirm=yes), arguments=ARGUMENTS)
    assert report.verdict == "stopped"
    assert report.problem is not None
    assert report.problem.code == "effect"
    assert app.writes == []


@pytest.mark.parametrize(
    ("app", "code"),
    [
        (ShopApp(labels={"Save": "Delete"}), "identity"),
        (ShopApp(twins=("Save",)), "ambiguous"),
        (ShopApp(test_ids={"offer_edit-save": "x", "offer_edit-delete": "offer_edit-save"}), ""),
        (ShopApp(labels={"Save": "Store"}, test_ids={"offer_edit-save": "x"}), "not_found"),
    ],
)
def test_an_element_that_is_not_surely_the_one_stops_the_run(app: ShopApp, code: str) -> None:
    report = run(EDIT, app, arguments=ARGUMENTS)
    assert (report.problem.code if report.problem else "") == code
    assert bool(app.writes) == (not code)


def test_drafts_are_not_lost_in_silence() -> None:
    source = 'set_text($mail__to, "a")\ntap($offers__new)'
    report = run(source, ShopApp())
    assert report.problem is not None
    assert "would lose what was typed in mail__to" in report.problem.what
    report = run('set_text($mail__to, "a")\nback()\ntap($offers__new)', ShopApp())
    assert report.verdict == "done"


def test_an_item_that_changed_is_not_taken_for_another() -> None:
    app = ShopApp()
    source = "row = $offers__rows[0]\ntap($offers__home)\ntap(inside(row, $offers__edit))"
    assert run(source, app).verdict == "done"

    class Moving(ShopDriver):
        def tap(self, node: object) -> None:
            super().tap(node)  # type: ignore[arg-type]
            if self.observe().title == "Home":
                self.app.offers.pop(7, None)

    checked = check_script(read_script(source), DOCUMENT)
    report = run_on_screen(
        checked, DOCUMENT, lambda gate: Moving(app, gate), POLICY, {}, clock=FixedClock()
    )
    assert report.problem is not None
    assert report.problem.code in ("identity", "index")


def test_budgets_and_caps_stop_a_run(tmp_path: Path) -> None:
    source = 'for t in ["a", "b"]:\n    set_text($mail__to, t)\n    tap($mail__send)'
    app = ShopApp()
    policy = replace(POLICY, confirm=yes)
    report = run(source, app, policy, budget=RunBudget(writes=1))
    assert (report.problem and report.problem.code, len(app.mails)) == ("budget", 1)
    caps = CapLedger(tmp_path / "caps.json", CapRules(writes_a_run=1), clock=FixedClock())
    report = run(source, app, replace(policy, caps=caps))
    assert (report.problem and report.problem.code, len(app.mails)) == ("cap", 2)


def test_secrets_are_typed_and_never_written_down(tmp_path: Path) -> None:
    rule = SecretRule("admin", (ORIGIN,), ("sign_in__password",))

    def keeper() -> SecretKeeper:
        return SecretKeeper((rule,), value_of={"admin": "hunter22"}.__getitem__)

    source = 'set_text($sign_in__password, secret("admin"))\ntap($sign_in__enter)'
    app = ShopApp()
    report = run(source, app, replace(POLICY, secrets=keeper()), folder=tmp_path / "run")
    assert report.verdict == "done"
    assert app.writes[0][1]["password"] == "hunter22"
    kept = [path.read_bytes() for path in (tmp_path / "run").iterdir()]
    assert not any(b"hunter22" in one for one in kept)
    assert any(b"without password" in one for one in kept)
    assert "hunter22" not in repr(report)
    other = 'set_text($mail__text, secret("admin"))'
    report = run(other, app, replace(POLICY, secrets=keeper()))
    assert report.problem is not None
    assert report.problem.code == "refused"


def test_enter_sends_what_the_page_documents() -> None:
    app = ShopApp()
    source = 'set_text($mail__to, "a")\nenter()'
    report = run(source, app, replace(POLICY, confirm=yes))
    assert (report.verdict, app.mails) == ("done", [("a", "")])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Postconditions(check=read_script("tap($mail__send)")),
        lambda: Postconditions(check=read_script("tap($nothing)")),
    ],
)
def test_a_check_only_reads(make: Callable[[], Postconditions]) -> None:
    with pytest.raises(ScriptError):
        run("back()", ShopApp(), postconditions=make())


def test_what_moved_is_healed_and_kept_only_when_verified() -> None:
    policy = replace(POLICY, heal=True)
    app = ShopApp(labels={"Save": "SAVE"}, test_ids={"offer_edit-save": "x"})
    assert run(EDIT, app, arguments=ARGUMENTS, postconditions=HOLDS).verdict == "stopped"
    report = run(EDIT, app, policy, arguments=ARGUMENTS)
    assert report.verdict == "stopped"  # nobody would check what was healed
    report = run(EDIT, app, policy, arguments=ARGUMENTS, postconditions=HOLDS)
    assert report.verdict == "verified"
    assert [one.before.name for one in report.healed] == ["offer_edit__save"]
    assert report.document.version == "2"
    assert report.document.by_name["offer_edit__save"].locators[0].value == "SAVE"
    assert "healed" in [one.how for one in report.steps]
    app = ShopApp(labels={"Save": "SAVE"}, test_ids={"offer_edit-save": "x"}, lie="silent")
    report = run(EDIT, app, policy, arguments=ARGUMENTS, postconditions=HOLDS)
    assert (report.verdict, report.document) == ("contradicted", DOCUMENT)


NAMED = """
param item: text
param name: text
tap(inside(find($offers__rows, item), $offers__edit))
"""
RENAME = NAMED + "set_text($offer_edit__name, name)\ntap($offer_edit__save)\n"
RENAMED = NAMED + 'expect(get_attributes($offer_edit__name, "value") == name)\n'


def test_what_was_renamed_is_looked_up_under_its_new_name() -> None:
    wanted = Postconditions(("POST /offers/{}/",), read_script(RENAMED))
    names = {"item": "Spring", "name": "May"}
    policy = replace(POLICY, confirm=yes)
    app = ShopApp()
    report = run(RENAME, app, policy, arguments=names, postconditions=wanted)
    assert (report.verdict, app.offers[7].name) == ("verified", "May")
    report = run(RENAME, ShopApp(lie="silent"), policy, arguments=names, postconditions=wanted)
    assert report.verdict == "contradicted"
    app = ShopApp()
    app.offers[9] = Offer("May day")
    app.lie = "silent"
    report = run(RENAME, app, policy, arguments=names, postconditions=wanted)
    assert report.verdict == "contradicted"  # the old name is still there


@pytest.mark.parametrize("page", list(hostile_pages()), ids=lambda one: one.name)
def test_hostile_pages_make_nothing_happen(page: HostilePage) -> None:
    """Nothing but the write of the script, with its values, to its offer."""
    app = page.app
    policy = replace(POLICY, confirm=lambda _: False, heal=True)
    report = run(EDIT, app, policy, arguments=ARGUMENTS, postconditions=HOLDS, on_page=page.on_page)
    assert len(app.writes) <= 1
    for path, fields in app.writes:
        assert (path, fields["share"]) == ("/offers/7/", "25")
    assert 8 in app.offers or len(app.offers) == 1
    assert (app.mails, app.budget) == ([], 100)
    assert all(one.effect == "commit" for one in report.written)
    if report.verdict == "verified":
        assert app.offers[7].share == "25"


def test_there_are_more_than_a_hundred_hostile_pages() -> None:
    pages = list(hostile_pages())
    assert len(pages) > 200
    assert len({one.name for one in pages}) == len(pages)


def test_in_a_browser_a_write_is_verified_and_a_lie_is_caught(tmp_path: Path) -> None:
    app = ShopApp()
    with shop_server(app) as origin, chromium_or_skip() as browser, ExitStack() as stack:
        reading = ReadingGate((origin,))
        bounds = ExploreBounds(start=f"{origin}/offers/", pages=3, depth=1)
        with browser.driver(reading) as driver:
            found = explore(driver, PageRecords(tmp_path / "pages"), bounds)
        document = build_document("Shop", found.records.all, (origin,))
        (door,) = (one for one in document.elements_of("offers") if one.label == "Edit")
        form = door.target
        script, check = (
            read_script(
                one.replace("$offers__rows", "$offers__row_2")
                .replace("$offer_edit__share", f"${form}__discount")
                .replace("offer_edit", str(form))
            )
            for one in (EDIT, CHECK)
        )
        wanted = Postconditions(("POST /offers/{}/",), check)
        verdicts = []
        for lie in ("", "silent"):
            app.lie = lie  # type: ignore[assignment]
            report = run_on_screen(
                check_script(script, document),
                document,
                lambda gate: stack.enter_context(browser.driver(gate)),
                RunPolicy(GateRules(OriginRules((origin,)))),
                {"code": "Spring", "share": 30 + len(lie)},
                clock=SystemClock(),
                postconditions=wanted,
            )
            verdicts.append(report.verdict)
    assert verdicts == ["verified", "contradicted"]
    assert app.offers[7].share == "30"


SCRIPT = read_script(
    """
answer(get_text($offers__rows[0]))
tap(inside($offers__rows[0], $offers__edit))
set_text($offer_edit__share, 5)
tap($offer_edit__save)
"""
)


def report(app: ShopApp, *, dry: bool = False, heal: bool = False) -> RunReport:
    document = shop_document()
    gate = GateRules(OriginRules((ORIGIN,)), dry=dry)
    return run_on_screen(
        check_script(SCRIPT, document),
        document,
        lambda decide: ShopDriver(app, decide),
        RunPolicy(gate, heal=heal),
        {},
        clock=FixedClock(),
    )


def test_a_page_tells_what_was_done() -> None:
    page = run_page(report(ShopApp()), SCRIPT, title="Lower <it>")
    assert "<title>Lower &lt;it&gt;</title>" in page
    assert "Verdict: <strong>done</strong>" in page
    assert "share: &#39;10&#39; -&gt; &#39;5&#39;" in page
    assert "tap($offer_edit__save)" in page
    assert "Answer: Spring 10% Open" in page


def test_text_of_the_app_is_shown_and_never_interpreted() -> None:
    app = ShopApp(offers={7: Offer("<script>alert(1)</script>")})
    page = run_page(report(app), SCRIPT, title="x")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_dry_run_and_a_problem_are_shown() -> None:
    assert "A dry run would have sent" in run_page(report(ShopApp(), dry=True), SCRIPT, title="x")
    page = run_page(report(ShopApp(lie="status")), SCRIPT, title="x")
    assert "answered with status 409" in page


def test_healing_is_shown_for_review() -> None:
    app = ShopApp(labels={"Offers": "OFFERS"}, test_ids={"home-offers": "x"})
    page = run_page(report(app, heal=True), SCRIPT, title="x")
    assert "$home__offers: role Offers, test_id home-offers -&gt; role OFFERS, test_id x" in page


def test_only_pictures_of_the_folder_are_shown(tmp_path: Path) -> None:
    found = report(ShopApp())
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    (tmp_path / "b.png").write_bytes(b"<svg onload=x>")
    names = ("a.png", "b.png", "../a.png", "none.png", "")
    steps = tuple(replace(one, picture=name) for one, name in zip(found.steps, names, strict=False))
    page = run_page(replace(found, steps=steps), SCRIPT, title="x", folder=tmp_path)
    assert page.count("<img") == 1
    assert run_page(replace(found, steps=steps), SCRIPT, title="x").count("<img") == 0


CHECKED = check_script(
    read_script(
        """
tap(inside($offers__rows[0], $offers__edit))
set_text($offer_edit__name, "a")
tap($offer_edit__save)
set_text($mail__to, "a")
tap($mail__send)
"""
    ),
    DOCUMENT,
)


def statuses(app: ShopApp) -> dict[str, str]:
    drivers: list[ShopDriver] = []

    def opened(gate: object) -> ShopDriver:
        drivers.append(ShopDriver(app, gate))  # type: ignore[arg-type]
        return drivers[-1]

    found = survey_script(CHECKED, DOCUMENT, opened, GateRules(OriginRules((ORIGIN,))))
    assert app.writes == []
    assert all(one.closed for one in drivers)
    return {one.name: one.status for one in found}


def test_all_is_there() -> None:
    assert set(statuses(ShopApp()).values()) == {"there"}


def test_what_moved_is_gone_or_changed_is_told() -> None:
    app = ShopApp(
        labels={"Save": "SAVE", "To": "Recipient"},
        test_ids={"offer_edit-save": "x", "mail-to": "y"},
        actions={"Send": "/budget/"},
    )
    found = statuses(app)
    assert found["offer_edit__save"] == "moved"
    assert found["mail__to"] == "gone"
    assert found["mail__send"] == "changed"


def test_an_empty_list_is_told_and_a_lost_page_is_unseen() -> None:
    assert statuses(ShopApp(offers={}))["offers__rows"] == "gone"
    app = ShopApp(labels={"Mail": "Post"}, test_ids={"home-mail": "x"})
    assert statuses(app)["mail__send"] == "unseen"


MACROS_SCRIPT = read_script(
    """
param code: text
param share: number
tap(inside(match($offers__rows, code)[0], $offers__edit))
set_text($offer_edit__share, share)
tap($offer_edit__save)
"""
)
MACROS_CHECK = read_script(
    """
param code: text
param share: number
tap(inside(match($offers__rows, code)[0], $offers__edit))
expect(number(get_attributes($offer_edit__share, "value")) == share)
"""
)
WANTED = Postconditions(("POST /offers/{}/",), MACROS_CHECK)
FLOWS = (FlowRule("mail__text", "mail__to"),)
MACRO = Macro("set_share", "Set a discount", "shop", "1", MACROS_SCRIPT, WANTED, FLOWS)


def macros_report(app: ShopApp) -> RunReport:
    return run_on_screen(
        check_script(MACROS_SCRIPT, DOCUMENT),
        DOCUMENT,
        lambda gate: ShopDriver(app, gate),
        POLICY,
        {"code": "Spring", "share": 25},
        clock=FixedClock(),
        postconditions=WANTED,
    )


def test_a_macro_comes_of_a_verified_run() -> None:
    macro = macro_of("set_share", "Set a discount", MACROS_SCRIPT, WANTED, macros_report(ShopApp()))
    assert (macro.app, macro.version) == ("shop", "1")
    with pytest.raises(ConfigError, match="contradicted, not verified"):
        macro_of("set_share", "", MACROS_SCRIPT, WANTED, macros_report(ShopApp(lie="silent")))


def test_a_kept_macro_is_read_as_itself(tmp_path: Path) -> None:
    book = MacroBook(tmp_path / "macros")
    assert book.names() == ()
    book.keep(MACRO, DOCUMENT)
    book.keep(replace(MACRO, name="b", postconditions=Postconditions(("POST /mail/",))), DOCUMENT)
    assert book.names() == ("b", "set_share")
    assert book.macro("set_share") == MACRO
    assert book.macro("b").postconditions.check is None


def test_a_macro_runs_again_with_other_arguments(tmp_path: Path) -> None:
    book, app = MacroBook(tmp_path), ShopApp()
    book.keep(MACRO, DOCUMENT)
    found = run_macro(
        book.macro("set_share"),
        DOCUMENT,
        lambda gate: ShopDriver(app, gate),
        POLICY,
        {"code": "Autumn", "share": Decimal("7.5")},
        clock=FixedClock(),
    )
    assert (found.verdict, app.offers[8].share) == ("verified", "7.5")


def test_a_macro_that_no_longer_fits_says_so() -> None:
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offers__rows")
    later = replace(DOCUMENT, elements=kept, version="2")

    def run(document: object) -> None:
        run_macro(
            MACRO,
            document,  # type: ignore[arg-type]
            lambda gate: ShopDriver(ShopApp(), gate),
            POLICY,
            {"code": "a", "share": 1},
            clock=FixedClock(),
        )

    with pytest.raises(ScriptError, match=r"\$offers__rows"):
        run(later)


def test_a_macro_of_another_document_is_not_kept(tmp_path: Path) -> None:
    bad = replace(MACRO, script=read_script("tap($nothing)"))
    with pytest.raises(ScriptError):
        MacroBook(tmp_path).keep(bad, DOCUMENT)
    assert MacroBook(tmp_path).names() == ()


@pytest.mark.parametrize("name", ["", "../a", "A", "a b", "x" * 61])
def test_a_name_is_a_file_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        replace(MACRO, name=name)
    with pytest.raises(ConfigError):
        MacroBook(tmp_path).macro(name)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"script": 1}', "\x00"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(FileUnreadableError, match=r"a\.json"):
        MacroBook(tmp_path).macro("a")


POSTCONDITIONS_WANTED = Postconditions(("POST /offers/{}/",))


def seen(status: int, *, allowed: bool = True, path: str = "/offers/7/") -> SeenRequest:
    request = PendingRequest("POST", f"http://a{path}")
    return SeenRequest(request, GateDecision(allowed), status)


@pytest.mark.parametrize(
    ("request_seen", "missing"),
    [
        (seen(200), 0),
        (seen(303), 0),
        (seen(409), 1),
        (seen(500), 1),
        (seen(0), 1),
        (seen(200, allowed=False), 1),
        (seen(200, path="/mail/"), 1),
    ],
)
def test_a_request_must_be_answered_well(request_seen: SeenRequest, missing: int) -> None:
    assert len(missing_requests(POSTCONDITIONS_WANTED, [request_seen])) == missing
    assert len(missing_requests(POSTCONDITIONS_WANTED, [request_seen, seen(303)])) == 0


def test_a_check_may_read_and_search() -> None:
    source = 'set_text($offers__search, "a")\nexpect(len($offers__rows) == 2)'
    wanted = Postconditions(check=read_script(source))
    assert check_postconditions(wanted, shop_document()) is not None
    assert check_postconditions(POSTCONDITIONS_WANTED, shop_document()) is None


@pytest.mark.parametrize("name", ["offer_edit__save", "mail__send", "offer_delete__confirm"])
def test_a_check_may_not_write(name: str) -> None:
    with pytest.raises(ScriptError, match="not allowed"):
        check_postconditions(Postconditions(check=read_script(f"tap(${name})")), shop_document())


def test_a_check_takes_what_the_run_took() -> None:
    script = read_script("param a: text\nanswer(a)")
    assert own_arguments(script, {"a": "x", "b": 1}) == {"a": "x"}
    with pytest.raises(ScriptError, match="takes a"):
        own_arguments(script, {"b": 1})


@pytest.mark.parametrize("requests", [(), ("POST",), ("post /a",), ("POST a",)])
def test_there_must_be_something_to_check(requests: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        Postconditions(requests)


def test_an_item_may_have_been_given_a_text_that_was_set() -> None:
    check = read_script(
        """
param item: text
param name: text
param share: number
tap(inside(find($offers__rows, item), $offers__edit))
expect(get_attributes($offer_edit__name, "value") == name)
expect(number(get_attributes($offer_edit__share, "value")) == share)
"""
    )
    given = {"item": "Spring", "name": "May", "share": 25}
    assert list(renamed_arguments(check, given)) == [{"item": "May", "name": "May", "share": 25}]
    assert list(renamed_arguments(check, {"item": "Spring", "share": 25})) == []
