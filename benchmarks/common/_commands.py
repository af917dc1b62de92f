"""Commands of adwright as lines of text: run one after the other, and what each said.

    python -m benchmarks.common._commands LINES.json FOLDER      # writes FOLDER's said.json

Part of old_artifacts.py, which runs them with the code of a checkout: nothing is imported here but
the command line and the standard library.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class Commands:
    """Runs commands in this process, and services in one of their own.

    known: what stands for names in braces. told: of each command a mapping of words, code, said."""

    def __init__(self, known: dict[str, str]) -> None:
        from adwright.cli import app

        self.app, self.known = app, known

    def run(self, text: str) -> list[dict[str, Any]]:
        """Run the lines; what each said."""
        lines, told = text.splitlines(), list[dict[str, Any]]()
        while lines:
            line = lines.pop(0)
            asked = list[str]()
            while lines and lines[0].startswith(("GET ", "POST ")):
                asked.append(lines.pop(0))
            mark = line[0] if line[:2] in ("! ", "~ ") else ""
            line, began = line[2 * len(mark) :], time.process_time()
            name, found, rest = line.partition(" = ")
            words = [self._known(word) for word in shlex.split(rest if found else line)]
            row = self._served(words, asked) if asked else self._called(words)
            if found:
                self.known[name] = str(row["said"]).split()[-1]
                row["said"] = ""
            row["fine"] = mark == "!" or row["code"] == 0
            row["timed"] = mark == "~"
            row["cpu"] = round(time.process_time() - began, 1)
            told.append(row)
        return told

    def _known(self, word: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda m: self.known.get(m[1], m[0]), word)

    def _called(self, words: Sequence[str]) -> dict[str, Any]:
        from typer.testing import CliRunner

        found = CliRunner().invoke(self.app, ["--quiet", *words])
        wrong = found.stderr[-2000:] if found.exit_code else ""
        if found.exception and not isinstance(found.exception, SystemExit):
            wrong = "".join(traceback.format_exception(found.exception))[-3000:]
        return {
            "words": " ".join(words),
            "code": found.exit_code,
            "said": found.stdout,
            "wrong": wrong,
        }

    def _served(self, words: Sequence[str], asked: Sequence[str]) -> dict[str, Any]:
        answers = list[str]()
        process = subprocess.Popen(
            [sys.executable, "-m", "adwright", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            url = ""
            for line in process.stdout or ():
                if found := re.search(r"serving on (http://[\w.:]+)", line):
                    url = found[1]
                    break
            if url:
                answers = [self._asked(url, line) for line in asked]
            process.send_signal(signal.SIGTERM)
            _, wrong = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
        said, code = "\n".join(answers), process.returncode
        return {"words": " ".join(words), "code": code, "said": said, "wrong": wrong[-2000:]}

    def _asked(self, url: str, line: str) -> str:
        method, path, *body = line.split(" ", 2)
        headers = {"Content-Type": "application/json", "X-API-Key": self.known.get("key", "")}
        data = body[0].encode() if body else None
        request = Request(url + self._known(path), data, headers, method=method)
        try:
            with urlopen(request, timeout=120) as answer:
                text = answer.read().decode()
        except HTTPError as error:
            return f"{error.code} {error.read().decode()}"
        found = json.loads(text)
        if method == "POST" and "id" in found:
            self.known["id"] = str(found["id"])
        return str(text)


def main(plan: Path, top: Path) -> None:
    """Run the parts of a plan, each {name: lines}, in the folders `top`/work/NAME; what was said
    goes to `top`/said.json. Before the second part the folders are copied to `top`/saved."""
    said = list[dict[str, Any]]()
    for part in json.loads(plan.read_text("utf-8")):
        if said:
            shutil.copytree(top / "work", top / "saved")
        said.append({name: _run(top / "work" / name, lines) for name, lines in part.items()})
    (top / "said.json").write_text(json.dumps(said, indent=1), "utf-8")


def _run(folder: Path, lines: str) -> list[dict[str, Any]]:
    """Run commands in a folder; what {words} mean is kept there from one time to the next."""
    os.chdir(folder)
    Path("used").mkdir(exist_ok=True)
    kept = Path("words.json")
    commands = Commands(json.loads(kept.read_text("utf-8")))
    said = commands.run(lines)
    kept.write_text(json.dumps(commands.known), "utf-8")
    return said


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
