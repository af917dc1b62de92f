"""?"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from adwright.authoring.checks.limits import CheckConfig
from adwright.authoring.writer.asking import (
    AskedRow,
    Asker,
    DraftSource,
    FinishedRow,
    RowAnswer,
    SlotPrompt,
    cpu_seconds,
    finish,
    folded,
    open_writer,
    tidy,
)
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import make_plan
from adwright.authoring.writer.job import run_job
from adwright.core.clock import FixedClock
from adwright.core.errors import AssetError, ConfigError, ResourceError
from adwright.lm.engine.generation import GenerationConfig, Usage
from adwright.lm.open_model import LmSpec
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.chat_server import chatting
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import save_tiny
from tests.support.writing import Teller, opened, table_of

SOURCE = DraftSource("m", "a", "hash", "job")


def finished(
    folder: Path,
    text: str | None,
    *,
    slot: str = "headline",
    mend: bool = True,
    others: tuple[str, ...] = (),
    last: bool = False,
    cut: bool = False,
    instead: str = "",
) -> FinishedRow:
    labels = ("Tea", "Cups") if slot == "category" else ()
    config = WriteConfig((slot,), by="free", labels=labels)
    row = make_plan(table_of(folder, "Tea 80 bags"), config, {slot: "r"}).rows[0]
    request = row.request(labels)
    asked = AskedRow(row, request, SlotPrompt("Write.", "").messages(request))
    answer = RowAnswer(asked, text, "broken", Usage(50, 7, 30), 0.25, 11, cut)
    return finish(
        answer,
        CheckConfig(),
        SOURCE,
        mend=mend,
        attempts=2,
        others=others,
        last=last,
        instead=lambda: instead,
    )


def test_an_answer_becomes_a_draft_with_its_provenance(tmp_path: Path) -> None:
    done = finished(tmp_path, ' "Fresh tea, 80 bags" ')
    assert done.draft is not None
    assert done.draft.text == "Fresh tea, 80 bags"
    assert done.draft.before == ' "Fresh tea, 80 bags" '
    by = done.draft.provenance
    assert (by.model, by.adapter, by.adapter_hash, by.job, by.attempts) == (
        *("m", "a", "hash", "job"),
        2,
    )
    assert (by.prompt_tokens, by.answer_tokens, by.cached_tokens, by.seconds) == (50, 7, 30, 0.25)
    assert (by.seed, len(by.prompt), len(by.inputs), len(by.product)) == (11, 24, 24, 24)


def test_what_is_not_in_the_facts_is_mended_where_asked(tmp_path: Path) -> None:
    again = finished(tmp_path, "Tea for 1999 people")
    assert again.draft is None
    assert "grounding/number" in again.reason
    said = "Tea 80 bags is here. It is for 1999 people."
    mended = finished(tmp_path, said, slot="description", last=True)
    assert mended.draft is not None
    assert mended.draft.text == "Tea 80 bags is here."
    assert len(mended.before) == 1
    assert mended.after == ()
    left = finished(tmp_path, "Tea for 1999 people", mend=False)
    assert left.draft is not None
    assert left.draft.text == "Tea for 1999 people"
    assert left.draft.findings == left.after == left.before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "broken"),
        ("  ", "empty"),
        ("<b></b>", "empty"),
        ("Tea <|im_start|>user", "opens another turn"),
        ("Tea\nuser: more", "opens another turn"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, text: str | None, reason: str) -> None:
    done = finished(tmp_path, text)
    assert done.draft is None
    assert reason in done.reason


def test_what_was_cut_or_goes_round_is_asked_again_and_then_planned(tmp_path: Path) -> None:
    whole = "Tea 80 bags is here. Tea 80 bags is"
    assert "form/cut" in finished(tmp_path, whole, slot="description", cut=True).reason
    kept = finished(tmp_path, whole, slot="description", cut=True, last=True)
    assert kept.draft is not None
    assert kept.draft.text == "Tea 80 bags is here."
    loop = "Tea 80 bags is tea. " + "It is good for the day. " * 3
    assert "form/loop" in finished(tmp_path, loop, slot="description").reason
    planned = finished(
        tmp_path, "Eczema", slot="description", last=True, instead="Meet Tea 80 bags."
    )
    assert planned.draft is not None
    assert planned.draft.text == "Meet Tea 80 bags."


def test_variants_differ(tmp_path: Path) -> None:
    same = finished(tmp_path, "Fresh  TEA!", others=("fresh tea",), last=True)
    assert same.draft is None
    assert "that of another variant" in same.reason
    others = ("Fresh tea for quiet mornings",)
    text = "Fresh tea for quiet evenings"
    alike = finished(tmp_path, text, others=others)
    assert alike.draft is None
    assert "like another variant" in alike.reason
    kept = finished(tmp_path, text, others=others, last=True)
    assert kept.draft is not None
    assert [one.rule for one in kept.draft.findings] == ["variants/alike"]
    assert finished(tmp_path, "Bags of calm", others=others).draft is not None
    assert folded("Fresh  TEA!") == folded("fresh tea")


def test_a_label_is_one_of_the_list(tmp_path: Path) -> None:
    done = finished(tmp_path, '"Cups"', slot="category")
    assert done.draft is not None
    assert done.draft.text == "Cups"
    assert finished(tmp_path, "Mugs", slot="category").draft is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=HYPERLINK(x)", "HYPERLINK(x)"),
        ("@SUM a", "SUM a"),
        ("- Fresh   tea ", "Fresh tea"),
        ("<script>x</script>Tea", "Tea"),
        ('**Headline:** "Fresh tea"', "Fresh tea"),
        ("Title: Fresh tea", "Fresh tea"),
        ("Titled: Fresh tea", "Titled: Fresh tea"),
    ],
)
def test_no_text_is_a_formula_or_markup(text: str, shown: str) -> None:
    assert tidy(text) == shown


def rows(folder: Path, count: int = 5, slot: str = "headline") -> list[AskedRow]:
    labels = ("Tea", "Cups and saucers") if slot == "category" else ()
    config = WriteConfig((slot,), by="free", labels=labels)
    prompt = SlotPrompt("Write a headline.", "Be calm.")
    found = []
    for row in make_plan(table_of(folder, count=count), config, {slot: "r"}).rows:
        request = row.request(labels)
        found.append(AskedRow(row, request, prompt.messages(request)))
    return found


def asker(model: Teller, slept: list[float] | None = None) -> Asker:
    waits: list[float] = [] if slept is None else slept
    return Asker(model, clock=FixedClock(), attempts=3, pause=1.0, sleep=waits.append)


def test_the_first_row_of_a_slot_warms_what_all_share(tmp_path: Path) -> None:
    model = Teller(lambda prompt, call: "Fresh\ntea")
    one = asker(model)
    asked = rows(tmp_path)
    found = one.ask(asked, temperature=0.5, seeds=(7, 9, 4, 2, 5))
    assert [count for count, _ in model.calls] == [1, 5]
    assert one.warming.completion_tokens == 1
    assert [answer.text for answer in found] == ["Fresh"] * 5
    assert [answer.seed for answer in found] == [7, 9, 4, 2, 5]
    assert [(config.seed_of(0), config.max_tokens) for _, config in model.calls] == [
        (0, 1),
        (7, 20),
    ]
    assert model.calls[1][1].temperature == 0.5
    one.ask(asked, temperature=0.0, seeds=())
    assert [count for count, _ in model.calls] == [1, 5, 5]
    assert one.ask([], temperature=0.0, seeds=()) == []
    # What is the same for all comes first, and each prompt has one product.
    shared = model.prompts[0].partition("Tea 0")[0]
    assert "Be calm." in shared
    assert all(prompt.startswith(shared) for prompt in model.prompts)


def test_a_row_that_fails_is_found_and_harms_no_other(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        if "Tea 3" in prompt:
            raise ValueError("cannot")
        return "Fresh"

    found = asker(Teller(tell)).ask(rows(tmp_path), temperature=0, seeds=())
    assert [answer.text for answer in found] == ["Fresh"] * 3 + [None, "Fresh"]
    assert found[3].reason == "ValueError: cannot"


def test_an_engine_that_does_not_answer_is_asked_again_with_pauses(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        if call in (2, 3):
            raise ResourceError("busy")
        return "Fresh"

    slept: list[float] = []
    found = asker(Teller(tell), slept).ask(rows(tmp_path), temperature=0, seeds=())
    assert [answer.text for answer in found] == ["Fresh"] * 5
    assert slept == [1.0, 2.0]


def test_an_engine_that_is_gone_ends_the_job(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        raise ResourceError("no connection", where="http://x")

    model = Teller(tell)
    with pytest.raises(ResourceError, match=r"does not answer: no connection.*same command again"):
        asker(model).ask(rows(tmp_path), temperature=0, seeds=())
    assert len(model.calls) == 6  # one to warm, three attempts, two to see whether it speaks


def test_a_row_that_the_engine_cannot_take_is_told(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        if "Tea 4" in prompt:
            raise ResourceError("too much memory")
        return "Fresh"

    found = asker(Teller(tell)).ask(rows(tmp_path), temperature=0, seeds=())
    assert [answer.text for answer in found] == ["Fresh"] * 4 + [None]
    assert "too much memory" in found[4].reason


def test_settings_that_are_refused_end_the_job_at_once(tmp_path: Path) -> None:
    def tell(prompt: str, call: int) -> str:
        raise ConfigError("there is no such model")

    with pytest.raises(ConfigError, match="no such model"):
        asker(Teller(tell)).ask(rows(tmp_path), temperature=0, seeds=())


def test_labels_are_constrained(tmp_path: Path) -> None:
    asked = rows(tmp_path, 2, "category")
    here, server = Teller(lambda p, c: "Tea"), Teller(lambda p, c: '"Tea"', engine="http")
    asker(here).ask(asked, temperature=0, seeds=())
    asker(server).ask(asked, temperature=0, seeds=())
    assert '"Cups and saucers"' in (here.calls[1][1].grammar or "")
    assert server.calls[1][1].json_schema == {"type": "string", "enum": ["Tea", "Cups and saucers"]}
    assert here.calls[1][1].stop == ()


def test_the_prompt_has_a_hash(tmp_path: Path) -> None:
    one, other = rows(tmp_path, 2)
    assert len(one.prompt_hash) == 24
    assert one.prompt_hash != other.prompt_hash


def test_a_server_is_asked_over_http() -> None:
    with open_writer(LmSpec("served", url="http://127.0.0.1:9/v1")) as there:
        assert (there.engine, there.name, there.adapter_hash) == ("http", "served", "")
        assert there.model.info.engine == "http"


def test_a_server_of_another_make_gives_the_same_report(tmp_path: Path) -> None:
    """Bounded requests at a time, one product in each, and the report of any other engine."""
    config, table = WriteConfig(("headline",), by="free", pause=0.0), table_of(tmp_path, count=12)
    here = run_job(table, tmp_path / "a", config, opened(Teller(lambda p, c: "Fresh tea")))
    with (
        chatting(lambda asked: "Fresh tea") as (url, server),
        open_writer(LmSpec("served", url=url, concurrency=3)) as there,
    ):
        report = run_job(table, tmp_path / "b", config, there)
    assert 1 < server.most <= 3
    assert {one["model"] for one in server.asked} == {"served"}
    assert all(str(one["messages"]).count("Title: Tea") == 1 for one in server.asked)
    assert report.as_json().keys() == here.as_json().keys()
    assert (report.written, report.engine) == (12, "http")
    assert (report.prompt_tokens, report.answer_tokens) == (13 * 40, 13 * 5)


def test_a_row_that_the_server_refuses_harms_no_other(tmp_path: Path) -> None:
    table = table_of(tmp_path, count=4)
    config = WriteConfig(("headline",), by="free", pause=0.0, attempts=1)
    with (
        chatting(lambda asked: "" if "Tea 2" in asked else "Fresh tea") as (url, _),
        open_writer(LmSpec("served", url=url, retries=0)) as there,
    ):
        report = run_job(table, tmp_path / "out", config, there)
    assert (report.written, report.failed) == (3, 1)


def test_a_folder_without_an_adapter_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(AssetError, match="no adapter in this folder"),
        open_writer(LmSpec(adapter=str(tmp_path))),
    ):
        pass


def test_a_model_here_is_paged_with_its_adapter(tmp_path: Path) -> None:
    base = str(save_tiny(tmp_path / "base"))
    adapter = saved_parts(tmp_path / "parts", {"shop": LoRA(rank=3)})["shop"]
    config, prompts = GenerationConfig(max_tokens=6), ["the best tea", "the best cup"]
    with open_writer(LmSpec(base)) as there:
        assert (there.engine, there.adapter_hash) == ("paged", "")
        plain = there.model.generate(prompts, config).texts
    with open_writer(LmSpec(base, adapter=str(adapter))) as there:
        assert there.engine == "paged"
        assert len(there.adapter_hash) == 64
        tuned = there.model.generate(prompts, config).texts
    with open_writer(LmSpec(base, engine="torch")) as there:
        assert there.engine == "torch"
        assert len(there.model.generate(prompts, config)) == 2
    assert tuned != plain


def test_children_that_live_and_that_have_ended_count() -> None:
    start = cpu_seconds()
    busy = "import time\nwhile time.process_time() < .3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        alive = cpu_seconds() - start
        child.communicate(b"\n")
    ended = cpu_seconds() - start
    assert 0.25 < alive < 5
    assert ended >= alive - 0.02


def test_own_time_counts() -> None:
    start, until = cpu_seconds(), time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert cpu_seconds() - start >= 0.04
