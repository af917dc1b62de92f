"""The documentation is true: its examples run, and every error has its paragraph."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from adwright.cli import app
from adwright.core import errors
from tests.support.forks import programs, python

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    path
    for path in (*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md")))
    if "_build" not in path.parts
]
LANGUAGES = {"python", "console", "toml", "json", "text", "csv"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and the line on which the text starts."""

    language: str
    text: str
    line: int


def blocks_of(text: str) -> list[Block]:
    fence = re.compile(r"^(`{3,})([^\n]*)\n(.*?)^\1`*[ ]*$", re.MULTILINE | re.DOTALL)
    return [
        Block(match[2].strip(), match[3], text.count("\n", 0, match.start(3)) + 1)
        for match in fence.finditer(text)
    ]


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def script_of(text: str) -> str:
    """All python blocks of a page, each on the line where it stands in the page."""
    lines = [""] * (text.count("\n") + 1)
    for block in blocks_of(text):
        if block.language == "python":
            for offset, line in enumerate(block.text.splitlines()):
                lines[block.line - 1 + offset] = line
    return "\n".join(lines)


#: Pages whose blocks, Python and commands, are one walk: a shell runs them in one folder.
WALKS = [path for path in PAGES if "\n<!-- one walk -->\n" in path.read_text("utf-8")]
OTHERS = [path for path in PAGES if path not in WALKS]
PYTHON_PAGES = [path for path in OTHERS if script_of(path.read_text("utf-8")).strip()]
CONSOLE_BLOCKS = [
    pytest.param(block, id=f"{page_id(path)}:{block.line}")
    for path in OTHERS
    for block in blocks_of(path.read_text("utf-8"))
    if block.language == "console"
]


@pytest.mark.parametrize("path", PYTHON_PAGES, ids=page_id)
def test_python_examples_run(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text(script_of(path.read_text("utf-8")), encoding="utf-8")
    (tmp_path / "here").mkdir()
    result = subprocess.run(
        [python(), "-W", "error", str(script)],
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, f"{page_id(path)}\n{result.stderr}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=page_id)
def test_examples_run(path: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [python(), "-W", "error", str(path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, f"{page_id(path)}\n{result.stderr}"
    assert result.stdout.strip()


def commands_of(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that stands below it."""
    commands: list[tuple[str, str]] = []
    for line in text.replace("\\\n", " ").splitlines(keepends=True):
        if line.startswith("$ "):
            commands.append((line[2:].strip(), ""))
        elif commands and not line.startswith("#"):
            command, output = commands[-1]
            commands[-1] = (command, output + line)
    return commands


def run(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"adwright {shlex.join(arguments)}\n{result.output}"
    return result.output


def check_without_running(arguments: list[str]) -> None:
    verbs: list[str] = []
    command: Any = get_command(app)
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        verbs.append(word)
    text = run([*verbs, "--help"])
    for word in arguments:
        if word.startswith("--"):
            assert word.split("=")[0] in text, f"{word} is no option of {verbs}"


@pytest.mark.parametrize("block", CONSOLE_BLOCKS)
def test_console_examples_run(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = commands_of(block.text)
    assert commands, "a console block holds at least one line that starts with $"
    for command, expected in commands:
        program, *arguments = shlex.split(command)
        if program == "make":
            assert {word for word in arguments if "=" not in word} <= set(targets)
        elif program == "adwright" and block.text.startswith("# takes"):
            check_without_running(arguments)
        elif program == "adwright":
            output = run(arguments)
            if expected:
                flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
                assert doctest.OutputChecker().check_output(expected, output, flags), output


#: What a shell prints behind each command of a walk.
DONE = "<<done>>"
#: The port that a walk serves on; a free one is taken in its place.
PORT = "8000"


def walk_of(text: str) -> tuple[str, list[str]]:
    """The shell script of a page, which prints DONE after each command, and the outputs that the
    page shows. A block that begins with `# takes` is checked here and left out."""
    lines = ["set -eo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    expected = []
    for block in blocks_of(text):
        steps = commands_of(block.text) if block.language == "console" else []
        if block.language == "python":
            steps = [(f"python -W error - <<'EOF'\n{block.text}EOF", "")]
        for command, output in steps:
            if block.text.startswith("# takes"):
                check_without_running(shlex.split(command)[1:])
                continue
            lines += [command, f"echo '{DONE}'"]
            expected.append(output)
    return "\n".join(lines), expected


@pytest.mark.parametrize("path", WALKS, ids=page_id)
def test_walks_run(path: Path, tmp_path: Path) -> None:
    script, expected = walk_of(path.read_text("utf-8"))
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = str(door.getsockname()[1])
    places = [str(programs()), str(Path(sys.executable).parent), os.environ["PATH"]]
    given = {"COLUMNS": "100", "PATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        ["bash", "-c", script.replace(PORT, port)],
        cwd=tmp_path,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    outputs = result.stdout.replace(port, PORT).split(f"{DONE}\n")
    assert result.returncode == 0, f"after {outputs[-2:]}\n{result.stderr}"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for output, wanted in zip(outputs, expected, strict=False):
        assert not wanted or doctest.OutputChecker().check_output(wanted, output, flags), output


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_fences_are_of_a_known_language(path: Path) -> None:
    for block in blocks_of(path.read_text("utf-8")):
        known = block.language in LANGUAGES or block.language.startswith("{")
        assert known, f"line {block.line}: {block.language!r}; one of {sorted(LANGUAGES)}"


@pytest.mark.parametrize("script", ["_generate.py", "_floors.py", "_overview.py"])
def test_generated_parts_are_up_to_date(script: str) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "docs" / script), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    told = result.stdout + result.stderr
    assert result.returncode == 0, f"{told}run: python docs/{script}"


def test_what_contributing_says_where_it_is_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| .+ \| \[(.+)\]\((.+)\) \| `(\w+)` \|$", text, re.MULTILINE)
    assert len(rows) > 15
    for shown, path, name in rows:
        assert path == f"src/adwright/{shown}"
        assert re.search(rf"^(class|def) {name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE)


def test_every_error_is_documented_and_every_documented_error_exists() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    documented = re.findall(r"^#{2,} (\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.AdwrightError)
    )


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_between_files_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{target} is linked but does not exist"


def test_the_checks_find_what_they_look_for() -> None:
    text = "a\n```python\nx = 1\n```\n```console\n$ adwright --version\nadwright ...\n# note\n```\n"
    assert [(block.language, block.line) for block in blocks_of(text)] == [
        ("python", 3),
        ("console", 6),
    ]
    assert script_of(text).splitlines()[2] == "x = 1"
    assert commands_of(blocks_of(text)[1].text) == [("adwright --version", "adwright ...\n")]
    script, outputs = walk_of("```console\n$ adwright a \\\n  b\nc\n```\n```python\nx = 1\n```\n")
    assert f"adwright a    b\necho '{DONE}'" in script
    assert outputs == ["c\n", ""]
    with pytest.raises(AssertionError, match="no option"):
        check_without_running(["--no-such-option"])
