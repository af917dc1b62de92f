"""A screen as the world of a script."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.drivers.protocol import (
    DriverError,
    GateDecision,
    PendingRequest,
    Screen,
    ScreenNode,
    SeenRequest,
)
from adwright.agent.language.kinds import ElementHandle
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.policy_file import read_run
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import Postconditions, RunPolicy, RunReport, run_on_screen
from adwright.agent.run.screen_world import (
    ScreenWorld,
    TracedActs,
    WorldSettings,
    confirming_button,
    first_sent,
    repeated,
    sent_fields,
)
from adwright.agent.run.trace import (
    RunTrace,
    SentChanges,
    TraceRequest,
    TraceStep,
    read_sending,
    read_trace,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import ArtifactCorruptError, ConfigError, ResourceError
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()


def world(app: ShopApp | None = None, settings: WorldSettings | None = None) -> ScreenWorld:
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), DOCUMENT)
    driver = ShopDriver(app or ShopApp(), gate.decide)
    made = ScreenWorld(DOCUMENT, driver, gate, RunTrace(), settings)
    made.go_home()
    return made


def test_reading_goes_where_the_element_is() -> None:
    place = world()
    assert place.text(ElementHandle("budget__total")) == "100.00"
    rows = place.items("offers__rows")
    assert [one.seen for one in rows] == ["Spring 10% Open", "Autumn 20% Open"]
    inner = ElementHandle("offers__edit", within=rows[1])
    assert place.attribute(inner, "label") == "Edit"
    assert place.attribute(inner, "enabled") is True
    assert place.attribute(inner, "visible") is True
    place.act("tap", inner, None)
    assert place.attribute(ElementHandle("offer_edit__name"), "value") == "Autumn"
    assert place.attribute(ElementHandle("offer_edit__active"), "checked") is True
    assert place.attribute(ElementHandle("offer_edit__active"), "selected") is False
    with pytest.raises(ScriptError):
        place.attribute(ElementHandle("offer_edit__active"), "__class__")


def test_a_secret_is_not_read() -> None:
    place = world()
    place.act("set_text", ElementHandle("sign_in__password"), "typed")
    assert place.attribute(ElementHandle("sign_in__password"), "value") == ""
    assert place.text(ElementHandle("sign_in__password")) == ""


def test_scrolling_needs_a_direction() -> None:
    place = world()
    assert place.act("scroll", None, "down") is True
    assert place.act("scroll", ElementHandle("home__mail"), "up") is True
    with pytest.raises(ScriptError):
        place.act("scroll", None, "inwards")


def test_a_page_that_is_not_the_start_is_told() -> None:
    app = ShopApp(labels={name: "x" for name in ("Offers", "Mail", "Budget", "Sign in")})
    app.test_ids = {f"home-{one}": "x" for one in ("offers", "mail", "budget", "sign-in")}
    with pytest.raises(ScriptError, match="not in the document") as caught:
        world(app)
    assert caught.value.code == "wrong_state"


def test_what_is_switched_off_is_not_tapped() -> None:
    class Off(ShopApp):
        def page(self, path: str) -> list[ScreenNode]:
            return [replace(one, enabled=one.name != "Mail") for one in super().page(path)]

    with pytest.raises(ScriptError, match="switched off"):
        world(Off()).act("tap", ElementHandle("home__mail"), None)


def test_links_are_healed_where_it_is_allowed() -> None:
    def moved() -> ShopApp:
        return ShopApp(labels={"Mail": "MAIL"}, test_ids={"home-mail": "x"})

    with pytest.raises(ScriptError):
        world(moved()).act("tap", ElementHandle("home__mail"), None)
    place = world(moved(), WorldSettings(heal=True))
    place.act("tap", ElementHandle("home__mail"), None)
    assert [one.after.name for one in place.healed] == ["home__mail"]
    place.act("set_text", ElementHandle("mail__to"), "a")
    assert place.text(ElementHandle("mail__to")) == "a"


def test_a_write_is_healed_only_where_it_is_checked() -> None:
    def moved() -> ShopApp:
        return ShopApp(labels={"Save": "SAVE"}, test_ids={"offer_edit-save": "x"})

    save = ElementHandle("offer_edit__save")
    for heal, heals in ((WorldSettings(heal=True), False), (WorldSettings(True, True), True)):
        app = moved()
        place = world(app, heal)
        place.act("set_text", ElementHandle("offer_edit__name"), "New")
        if heals:
            place.act("tap", save, None)
        else:
            with pytest.raises(ScriptError):
                place.act("tap", save, None)
        assert bool(app.writes) == heals


def test_a_form_that_comes_back_is_not_saved() -> None:
    save = replace(DOCUMENT.by_name["offer_edit__save"], target=None)
    elements = tuple(save if one.name == save.name else one for one in DOCUMENT.elements)
    document = replace(DOCUMENT, elements=elements)
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), document)
    for name, fails in (("", True), ("Summer", False)):
        driver = ShopDriver(ShopApp(), gate.decide)
        place = ScreenWorld(document, driver, gate, RunTrace())
        place.go_home()
        place.act("set_text", ElementHandle("offer_edit__name"), name)
        if fails:
            with pytest.raises(ScriptError, match="came back"):
                place.act("tap", ElementHandle("offer_edit__save"), None)
        else:
            place.act("tap", ElementHandle("offer_edit__save"), None)


def test_a_link_that_leads_elsewhere_stops_the_run() -> None:
    place = world(ShopApp(actions={"Mail": "/budget/"}))
    with pytest.raises(ScriptError, match="led to budget") as caught:
        place.act("tap", ElementHandle("home__mail"), None)
    assert caught.value.code == "effect"


STEP = TraceStep(3, "tap", "offer_edit__save", "script")


def made(app: ShopApp) -> tuple[ShopDriver, TracedActs, RunTrace]:
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), DOCUMENT)
    driver, trace = ShopDriver(app, gate.decide), RunTrace()
    kept = lambda number, data: f"{number}.png"  # noqa: E731
    acts = TracedActs(DOCUMENT, driver, gate, trace, keep_picture=kept)
    driver.open(f"{ORIGIN}/offers/7/")
    driver.requests()
    return driver, acts, trace


def test_an_act_is_traced_with_what_it_sent() -> None:
    driver, acts, trace = made(ShopApp())
    node = next(one for one in driver.observe().nodes if one.name == "Save")
    act = acts.perform(
        partial(driver.tap, node), STEP, (DOCUMENT.by_name["offer_edit__save"],), {"share": "10"}
    )
    assert len(act.written) == 1
    (step,) = trace.steps
    assert (step.after, step.verdict, step.locator) == ("offers", "ok", "role Save")
    assert [(one.method, one.status) for one in step.requests] == [("POST", 303), ("GET", 200)]
    assert step.picture == "0.png"
    assert len(acts.seen) == 2


def test_a_driver_that_fails_is_traced_too() -> None:
    _, acts, trace = made(ShopApp())

    def broken() -> None:
        raise DriverError("it is gone")

    with pytest.raises(ScriptError, match="it is gone"):
        acts.perform(broken, STEP, (), {})
    assert (trace.steps[0].verdict, trace.steps[0].note) == ("driver", "it is gone")


@pytest.mark.parametrize("lie", ["status", ""])
def test_an_error_behind_a_banner_is_seen(lie: str) -> None:
    driver, acts, trace = made(ShopApp(lie=lie))  # type: ignore[arg-type]
    node = next(one for one in driver.observe().nodes if one.name == "Save")
    save = (DOCUMENT.by_name["offer_edit__save"],)
    if lie:
        with pytest.raises(ScriptError, match="status 409"):
            acts.perform(partial(driver.tap, node), STEP, save, {})
    else:
        acts.perform(partial(driver.tap, node), STEP, save, {})
    assert trace.steps[0].verdict == ("effect" if lie else "ok")
    assert driver.app.banner == "Saved"


def test_what_is_hidden_is_painted_over() -> None:
    shown: list[bytes] = []
    driver, acts, _ = made(ShopApp())
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), DOCUMENT)

    def keep(number: int, data: bytes) -> str:
        shown.append(data)
        return "x"

    acts = TracedActs(DOCUMENT, driver, gate, RunTrace(), keep_picture=keep)
    acts.perform(lambda: None, STEP, (), {})
    acts.hide(DOCUMENT.by_name["offer_edit__name"])
    acts.perform(lambda: None, STEP, (), {})
    assert shown == [b"/offers/7/ without ", b"/offers/7/ without name"]


SAVE = shop_document().by_name["offer_edit__save"]
SENT = PendingRequest("POST", f"{ORIGIN}/offers/7/", fields={"share": "25", "token": "x"})
FORM = {"action": "/offers/7/", "method": "post", "form": "/f"}
BUTTON = ScreenNode("1", "button", "Confirm", facts=FORM)
FIELD = ScreenNode("2", "textbox", "Why", facts={"form": "/f", "name": "why"})


def screen(*nodes: ScreenNode) -> Screen:
    return Screen(SENT.url, "Sure?", nodes)


def test_one_button_to_the_same_address_confirms() -> None:
    away = replace(BUTTON, key="3", facts={**FORM, "action": "/logout/"})
    assert confirming_button(screen(BUTTON, away), SAVE, SENT) == BUTTON


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (BUTTON, replace(BUTTON, key="2", name="Cancel")),
        (BUTTON, FIELD),
        (replace(BUTTON, enabled=False),),
        (replace(BUTTON, visible=False),),
        (replace(BUTTON, name="Delete it"),),
        (replace(BUTTON, facts={**FORM, "method": "get"}),),
        (replace(BUTTON, facts={**FORM, "action": "/offers/8/"}),),
        (replace(BUTTON, facts={**FORM, "action": "http://other.test/offers/7/"}),),
    ],
)
def test_nothing_else_does(nodes: tuple[ScreenNode, ...]) -> None:
    assert confirming_button(screen(*nodes), SAVE, SENT) is None


def test_only_an_answer_that_leads_nowhere_can_ask() -> None:
    yes, get = GateDecision(allowed=True), PendingRequest("GET", SENT.url)
    loaded = SeenRequest(get, yes, 200)
    assert first_sent([loaded, SeenRequest(SENT, yes, 200)]) == SENT
    assert first_sent([SeenRequest(SENT, yes, 303), loaded]) is None
    assert first_sent([SeenRequest(SENT, GateDecision(False), 200)]) is None
    assert first_sent([loaded]) is None


def test_what_the_page_showed_must_be_repeated() -> None:
    assert repeated(SENT, {"share": "10"}) == {"share": "25"}
    on = ScreenNode("4", "checkbox", "Active", "true", facts={"name": "active"})
    off = replace(on, value="false", facts={"name": "off"})
    secret = replace(FIELD, secret=True)
    shown = sent_fields([replace(FIELD, value="so"), on, off, secret, BUTTON])
    assert shown == {"why": "so", "active": "on"}


# --- in a run ----------------------------------------------------------------------------

EDIT = """
tap(inside(find($offers__rows, "Spring"), $offers__edit))
set_text($offer_edit__share, 25)
tap($offer_edit__save)
"""
CHECK = """
tap(inside(find($offers__rows, "Spring"), $offers__edit))
expect(number(get_attributes($offer_edit__share, "value")) == 25)
"""


class Asking(ShopApp):
    """Saving an offer is asked about; the page may say something else than was sent."""

    asked: dict[str, str] | None = None
    says: Mapping[str, str] = MappingProxyType({})

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        if path.startswith("/offers/") and "sure" not in fields:
            self.asked = {**fields, **self.says, "sure": "yes"}
            return Answer(200, path)
        self.asked = None
        return super().post(path, fields)

    def page(self, path: str) -> list[ScreenNode]:
        if self.asked is None:
            return super().page(path)
        hidden = [
            ScreenNode(name, "hidden", "", value, facts={"name": name}, visible=False)
            for name, value in self.asked.items()
        ]
        facts = {"action": path, "method": "post", "form": "/f"}
        return [*hidden, ScreenNode("sure", "button", "Yes", facts=facts)]


def run(app: Asking, *, heal: bool) -> RunReport:
    document = shop_document()
    return run_on_screen(
        check_script(read_script(EDIT), document),
        document,
        lambda gate: ShopDriver(app, gate),
        RunPolicy(GateRules(OriginRules((ORIGIN,))), confirm=lambda change: True, heal=heal),
        {},
        clock=FixedClock(),
        postconditions=Postconditions(("POST /offers/{}/",), read_script(CHECK)),
    )


def test_a_page_that_asks_to_confirm_is_answered_once() -> None:
    app = Asking()
    report = run(app, heal=True)
    assert (report.verdict, app.offers[7].share) == ("verified", "25")
    assert [one.note for one in report.steps if one.how == "healed"] == ["a page asks to confirm"]
    app = Asking()
    app.says = {"share": "99"}
    report = run(app, heal=True)
    assert report.verdict == "stopped"
    assert report.problem is not None
    assert "else than was sent" in report.problem.what
    assert app.writes == []
    app = Asking()
    report = run(app, heal=False)
    assert (report.verdict, app.writes) == ("stopped", [])


REQUEST = TraceRequest("GET", "u", "page", "allowed", 200)
STEPS = (
    TraceStep(1, "tap", "a__b", "script", requests=(REQUEST,)),
    TraceStep(2, "set_text", "a__c", "script", value="é\u202e"),
    TraceStep(3, "tap", "a__d", "healed", verdict="effect", note="no"),
)


def written(folder: Path) -> Path:
    path = folder / "trace.jsonl"
    trace = RunTrace(path)
    for one in STEPS:
        trace.add(one)
    trace.end("stopped")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path)) == (STEPS, "stopped")


def test_a_killed_run_is_read_with_what_it_sent(tmp_path: Path) -> None:
    changes = tuple(
        PendingChange("save", "commit", "POST", f"http://h/{n}", (), n, documented=True)
        for n in (1, 2)
    )
    trace = RunTrace(tmp_path / "trace.jsonl")
    with pytest.raises(ConfigError, match=r"no run that came to its end"):
        read_run(tmp_path)
    trace.about_to_send(changes[0])
    with pytest.raises(ConfigError, match=r"was killed as it sent: .*/1"):
        read_run(tmp_path)
    trace.add(STEPS[0])
    with pytest.raises(ConfigError, match=r"was killed after it sent: .*/1"):
        read_run(tmp_path)
    trace.about_to_send(changes[1])
    with pytest.raises(ConfigError, match=r"as it sent: .*/2; .*sent before: .*/1"):
        read_run(tmp_path)


def test_what_is_about_to_be_sent_is_on_the_disk_before_and_known_after_a_kill(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trace.jsonl"
    changes = tuple(
        PendingChange("save", "commit", "POST", f"http://h/{n}", (), n, documented=True)
        for n in (1, 2, 3)
    )
    assert read_sending(path) == SentChanges()
    trace = RunTrace(path)
    assert read_sending(path) == SentChanges()
    trace.about_to_send(changes[0])
    assert read_sending(path) == SentChanges((), changes[:1])
    trace.add(STEPS[0])
    trace.about_to_send(changes[1])
    trace.about_to_send(changes[2])
    cut = path.read_text("utf-8")
    for text in (cut, f'{cut}{{"before": "', cut + cut.splitlines()[-1] + "\n"):
        path.write_text(text, "utf-8")
        assert read_sending(path) == SentChanges(changes[:1], changes[1:])
    path.write_text(cut, "utf-8")
    with pytest.raises(ArtifactCorruptError):
        read_trace(path)
    trace.end("done")
    assert read_trace(path) == (STEPS[:1], "done")


def test_a_trace_is_not_written_over(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises((ResourceError, FileExistsError)):
        RunTrace(path)


def change(lines: list[str], kind: str) -> list[str]:
    match kind:
        case "word":
            return [lines[0], lines[1].replace("a__c", "a__x"), *lines[2:]]
        case "left out":
            return [lines[0], *lines[2:]]
        case "moved":
            return [lines[1], lines[0], *lines[2:]]
        case "doubled":
            return [lines[0], *lines]
        case "cut off":
            return lines[:-1]
        case "no end of line":
            return [*lines[:-1], lines[-1][:-5]]
        case "after the end":
            return [*lines, lines[-1]]
        case "no object":
            return ["[]", *lines]
    return []


@pytest.mark.parametrize(
    "kind",
    [
        "word",
        "left out",
        "moved",
        "doubled",
        "cut off",
        "no end of line",
        "after the end",
        "no object",
        "empty",
    ],
)
def test_any_change_is_seen(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path)
    lines = change(path.read_text().splitlines(), kind)
    path.write_text("".join(f"{one}\n" for one in lines))
    with pytest.raises(ArtifactCorruptError, match="broken"):
        read_trace(path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trace as it stands in its file."""
    return written(tmp_path_factory.mktemp("trace")).read_bytes()


@settings(deadline=None)
@given(at=st.integers(0, 5_000), by=st.integers(1, 255))
def test_no_byte_can_be_changed(
    tmp_path_factory: pytest.TempPathFactory, kept: bytes, at: int, by: int
) -> None:
    data = bytearray(kept)
    data[at % len(data)] = (data[at % len(data)] + by) % 256
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    path.write_bytes(bytes(data))
    with suppress(ArtifactCorruptError):
        # Blanks around a line say nothing.
        assert read_trace(path) == (STEPS, "stopped")


def test_a_missing_trace_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorruptError, match="cannot be read"):
        read_trace(tmp_path / "none.jsonl")
