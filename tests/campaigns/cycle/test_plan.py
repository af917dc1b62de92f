"""The file of a cycle: its order, and what is refused with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.campaigns.cycle.plan import Cycle, load_cycle, usual_cycle
from adwright.core.errors import ConfigError

HEAD = 'tenant = "acme"\nstore = "sqlite:///adwright.db"\n'


def step(name: str, **more: object) -> str:
    values = {"name": name, "run": "store show", **more}
    lines = [f"{key} = {list(v) if isinstance(v, tuple) else v!r}" for key, v in values.items()]
    return "\n".join(["[[steps]]", *lines, ""])


def cycle_of(folder: Path, *steps: str, head: str = "") -> Cycle:
    path = folder / "cycle.toml"
    path.write_text(HEAD + head + "".join(steps))
    return load_cycle(path)


def test_steps_stand_behind_what_they_need_else_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "c.csv").touch()
    cycle = cycle_of(
        tmp_path,
        step("last", inputs=("made/{make.key}",)),
        step("told", run="store show {make.key}"),
        step("within", inputs=("made",)),
        step("other", inputs=("c.csv", "store:events", "clock:week")),
        step("make", outputs=("made/{key}",), after=("other",)),
        step("free"),
    )
    names = [one.name for one in cycle.steps]
    assert names == ["other", "make", "last", "told", "within", "free"]
    assert cycle.before["within"] == ("make",)
    assert cycle.state == tmp_path / "cycle"
    assert cycle.store == f"sqlite:///{tmp_path / 'adwright.db'}"


def test_words_are_filled_in_one_by_one(tmp_path: Path) -> None:
    head = '[values]\nname = "two words"\nmost = 3\n'
    run = "store show --tenant {name} --limit={most} {prices} 'as it is'"
    cycle = cycle_of(tmp_path, step("one", run=run), head=head)
    given = {"name": "two words", "most": "3", "prices": "--price-prompt 1"}
    words = ["store", "show", "--tenant", "two words", "--limit=3", "--price-prompt", "1"]
    assert cycle.words(cycle.steps[0], given) == [*words, "as it is"]


@pytest.mark.parametrize(
    ("steps", "head", "what"),
    [
        ((), "", "has no step"),
        ((step("one", after=("two",)), step("two", after=("one",))), "", "wait for each other"),
        (
            (step("a", inputs=("x",), outputs=("y",)), step("b", inputs=("y",), outputs=("x",))),
            "",
            "y",
        ),
        ((step("one", inputs=("gone.csv",)),), "", "there is no input 'gone.csv'"),
        ((step("one", inputs=("store:money",)),), "", "there is no input 'store:money'"),
        ((step("one", inputs=("x/{key}",)),), "", "an input cannot have the step's own key"),
        (
            (step("one", outputs=("a",)), step("two", outputs=("a",))),
            "",
            "two steps write one output",
        ),
        ((step("one", outputs=("a",)), step("two", outputs=("a/b",))), "", "two steps write"),
        ((step("one", outputs=("../a",)),), "", "is no output"),
        ((step("one", outputs=("store:events",)),), "", "is no output"),
        ((step("one", after=("twp",)),), "", "after names no step"),
        ((step("one"), step("one")), "", "two steps have this name"),
        ((step("One"),), "", "no name of a step"),
        ((step("one", run="store {tenat}"),), "", "nothing is called {tenat}"),
        ((step("one", run="store 'x"),), "", "cannot be read"),
        ((step("one", run="adwright store"),), "", "names one verb"),
        ((step("one", run=""),), "", "names one verb"),
        ((step("one", inptus=("a",)),), "", "inptus"),
        ((step("one", tokens=0),), "", "tokens"),
        ((step("one"),), "[budget]\ntokens = 0\n", "tokens"),
        ((step("one"),), "[budget]\nmoney = -1.0\n", "money"),
        ((step("one"),), "[budget]\nseconds = nan\n", "seconds"),
        ((step("one"),), '[budget]\nmoney = "much"\n', "money"),
        ((step("one"),), '[budget]\nper = "year"\n', "per"),
        ((step("one"),), '[alerts]\nurls = ["ftp://x"]\n', "a web address"),
        ((step("one"),), "[alerts]\ndrift = 1.0\n", "drift"),
        ((step("one"),), '[values]\nkey = "x"\n', "a meaning of its own"),
        ((step("one"),), '[values]\nmine = ""\n', "is empty"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    tmp_path: Path, steps: tuple[str, ...], head: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        cycle_of(tmp_path, *steps, head=head if steps else "steps = []\n")
    assert what in str(caught.value)
    assert caught.value.hint
    assert str(tmp_path) in str(caught.value)


def test_an_optional_step_may_wait_for_an_input(tmp_path: Path) -> None:
    assert cycle_of(
        tmp_path, step("one", inputs=("gone.csv",), optional=True).replace("True", "true")
    )


def test_the_usual_file_can_be_read_with_any_values(tmp_path: Path) -> None:
    names = ("tenant", "store", "catalogue", "columns", "models", "landing", "model")
    path = tmp_path / "cycle.toml"
    path.write_text(usual_cycle(dict.fromkeys(names, 'a "b" c')))
    (tmp_path / 'a "b" c').touch()
    cycle = load_cycle(path)
    assert cycle.file.values["model"] == 'a "b" c'
    verbs = [" ".join(one.run.split()[:2]) for one in cycle.steps]
    for verb in ("author write", "creatives approve", "store compact", "retire apply"):
        assert verb in verbs
