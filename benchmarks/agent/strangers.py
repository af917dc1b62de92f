"""Tasks on applications that no rule was made on, by the documented commands (ten minutes each).

    python -m benchmarks.agent.strangers --app mezzanine              by plans, no model
    python -m benchmarks.agent.strangers --app mezzanine --recorded   as a strong model would write

Each application is explored once by `adwright agent explore` and its defaults. Each task is given a
fresh copy of its state, is done by `adwright agent do`, and every change is answered with yes. The
end state is read from the application's database and files: what was asked has happened, and
nothing else. Recorded scripts are those that a strong model would write, written from the whole
document; a prompt is complete where it names all that such a script needs. They come from an
endpoint on loopback that refuses what OpenAI's protocol does not have, and go the whole way through
the product: they stand for no model's success, and say what the way loses. Left out: of these
applications no task and no page was looked at before the figure was taken; on the others rules are
developed.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from adwright.agent.document.text_format import read_document
from adwright.agent.generate.retrieve import ElementIndex
from adwright.agent.generate.writing import (
    ENDPOINT_BEAM,
    document_lines,
    element_lines,
    is_told_whole,
)
from adwright.core.assets import derived
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.metrics.classification import wilson_interval
from benchmarks.agent.apps import _stranger
from benchmarks.agent.apps.strangers import DOORS, STRANGERS, StrangerName, seeds_of, stranger
from benchmarks.agent.stranger_state import tables_of
from benchmarks.agent.tasks._end_state import Added, Changed, EndState, Gone
from benchmarks.agent.terminal import Command
from benchmarks.common.result import RESULTS, write_result

NAME = "agent_strangers"
TASKS = Path(__file__).with_name("stranger_tasks")
#: Of which no task and no page was looked at before its figure was taken.
LEFT_OUT: tuple[StrangerName, ...] = ("wagtail", "fava", "radicale", "tiddlywiki")
_ORIGIN = "http://stranger.invalid"
_EXPLORE_SECONDS, _TASK_SECONDS = 3600, 180


def main() -> None:
    """Measure what is asked for, and write it beside what was measured before."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--app", choices=STRANGERS, action="append")
    parser.add_argument("--recorded", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    kept = asked.results / NAME
    kept.mkdir(parents=True, exist_ok=True)
    system = "recorded" if asked.recorded else "plans"
    for app in asked.app or STRANGERS:
        path = kept / f"{app}_{system}.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        for number, task in enumerate(tasks_of(app)):
            if task["text"] not in known and (task.get("script") or not asked.recorded):
                known[task["text"]] = done(app, task, recorded=asked.recorded)
                told = known[task["text"]]
                print(number, told["right"], told["verdict"], task["text"], told["why"], flush=True)
                atomic_write_text(path, json.dumps(known, indent=1) + "\n")
    written(kept, asked.results)


def tasks_of(app: StrangerName) -> list[dict[str, Any]]:
    """The tasks of an application: text, script, and what must be so afterwards."""
    found: list[dict[str, Any]] = tomllib.loads((TASKS / f"{app}.toml").read_text())["task"]
    return found


def goal_of(app: StrangerName, task: Mapping[str, Any]) -> EndState:
    """The end state of a task."""
    kinds = {"changed": Changed, "added": Added, "gone": Gone}
    changes = [
        kind(**{key: tuple(value) if key == "also" else value for key, value in one.items()})
        for name, kind in kinds.items()
        for one in task.get(name, ())
    ]
    free = (*DOORS[app].free, *task.get("free", ()))
    return EndState(tuple(changes), free=free, answer=task.get("answer"))


def document_of(app: StrangerName) -> Path:
    """The folder of its document and policy, made by `adwright agent explore`, with a placeholder
    for the address."""
    key = content_hash([Path(_stranger.__file__).read_text(), seeds_of(app), *_product()])[:12]

    def make(folder: Path) -> None:
        with TemporaryDirectory() as place, stranger(app, Path(place) / "app") as one:
            door = DOORS[app]
            names = {f"STRANGER_{n}": value for n, (_, value) in enumerate(door.fields)}
            fields = [
                part
                for n, (name, _) in enumerate(door.fields)
                for part in ("--sign-in-field", f"{name}=STRANGER_{n}")
            ]
            command = ["explore", one.url + door.start, "--document", "app.txt"]
            command += ["--sign-in", one.url + door.login, *fields] if door.login else []
            command += ["--path", door.start] if door.start != "/" else []
            done = Command(command, folder, names).talk(lambda _: True, _EXPLORE_SECONDS)
            (folder / "explored.log").write_text(done[1])
            for name in ("app.txt", "app.policy.toml"):
                text = (folder / name).read_text().replace(one.url, _ORIGIN)
                (folder / name).write_text(text)

    return derived(f"stranger-document-{app}-{key}", make)


def _product() -> Iterator[str]:
    """What an exploration depends on."""
    import adwright.agent as room

    for name in ("explore", "drivers", "document"):
        for path in sorted((Path(room.__file__).parent / name).glob("*.*")):
            yield content_hash(path.read_text())


def done(
    app: StrangerName,
    task: Mapping[str, Any],
    *,
    recorded: bool,
    says: Callable[[str], bool] = lambda shown: True,
) -> dict[str, Any]:
    """What came of one task. says: what the person answers to a change that is shown."""
    document, door = document_of(app), DOORS[app]
    names = {f"STRANGER_{n}": value for n, (_, value) in enumerate(door.fields)}
    began = time.monotonic()
    with TemporaryDirectory() as place, stranger(app, Path(place) / "app") as one:
        folder = Path(place) / "run"
        folder.mkdir()
        for name in ("app.txt", "app.policy.toml"):
            text = (document / name).read_text().replace(_ORIGIN, one.url)
            (folder / name).write_text(text)
        before = tables_of(one)
        command = ["do", task["text"], "--document", "app.txt", "--out", "out"]
        with recorder(task.get("script", "")) as url:
            more = ["--engine-url", url, "--model", "recorded", "--model-first"]
            command += more if recorded else ["--no-model"]
            code, said = Command(command, folder, names).talk(says, _TASK_SECONDS)
        after = tables_of(one)
        runs = sorted(folder.glob("out*/run.json"), key=lambda path: path.stat().st_mtime)
        report = json.loads(runs[-1].read_text()) if runs else {}
        answers = tuple(report.get("report", {}).get("answers", ()))
        goal = goal_of(app, task)
        why = goal.why_not(before, after, answers)
        return {
            "right": not why and code == 0,
            "why": why or ("" if code == 0 else f"exit {code}"),
            "verdict": report.get("report", {}).get("verdict", "none"),
            "source": report.get("task", {}).get("source", ""),
            "script": report.get("script", []),
            "answers": list(answers),
            "sent": len(report.get("report", {}).get("written", ())),
            "beyond": goal.rows_beyond(before, after),
            "code": code,
            "said": said[-1500:] if why or code else "",
            "seconds": round(time.monotonic() - began, 1),
        }


# fmt: off
_FIELDS = frozenset((
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "seed", "top_p", "stop", "n", "response_format", "tools", "frequency_penalty",
    "presence_penalty", "logprobs",
))
# fmt: on


@contextmanager
def recorder(script: str) -> Iterator[str]:
    """The address of an endpoint that always writes this script, and answers 400 to a field that
    OpenAI's protocol does not have."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            strange = sorted(asked.keys() - _FIELDS)
            if strange:
                error = {"error": {"message": f"Unrecognized request argument: {strange[0]}"}}
                return self._send(400, "application/json", json.dumps(error))
            chunk: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "model": "m"}
            words = sum(len(one["content"]) for one in asked["messages"]) // 4
            usage = {"prompt_tokens": words, "completion_tokens": len(script) // 4}
            ends = {"index": 0, "delta": {}, "finish_reason": "stop"}
            events = [
                chunk | {"choices": [{"index": 0, "delta": {"content": script}}]},
                chunk | {"choices": [ends]},
                chunk | {"choices": [], "usage": usage},
            ]
            text = "".join(f"data: {json.dumps(one)}\n\n" for one in events)
            self._send(200, "text/event-stream", f"{text}data: [DONE]\n\n")

        def _send(self, status: int, kind: str, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def prompts(app: StrangerName) -> list[bool]:
    """Of each task with a script, whether a model that is told the app would be told of all that
    the script needs."""
    document = read_document(document_of(app) / "app.txt")
    index, found = ElementIndex(document), []
    for task in tasks_of(app):
        if task.get("script"):
            told = index.retrieve(task["text"], ENDPOINT_BEAM.retrieve).elements
            whole = is_told_whole(document, ENDPOINT_BEAM)
            text = document_lines(document) if whole else element_lines(told)
            names = re.findall(r"\$(\w+)", task["script"])
            found.append(all(f"${name} " in text.replace("\n", " \n") for name in names))
    return found


def written(kept: Path, folder: Path) -> None:
    """Write agent_strangers.json of all cells."""
    rows: list[dict[str, Any]] = []
    for path in sorted(kept.glob("*.json")):
        app, _, system = path.stem.rpartition("_")
        cells = list(json.loads(path.read_text()).values())
        share = sum(one["right"] for one in cells) / len(cells)
        low, high = wilson_interval(np.array([share]), np.array([float(len(cells))]))
        said = [one for one in cells if one["code"] == 0]
        rows.append(
            {
                "app": app,
                "system": system,
                "left_out": app in LEFT_OUT,
                "tasks": len(cells),
                "right": [share, float(low[0]), float(high[0])],
                "said_done": len(said),
                "false": sum(not one["right"] for one in said),
                "nothing_tried": sum(one["verdict"] == "none" for one in cells),
                "wrong_rows": sum(one["beyond"] > 0 for one in cells),
            }
        )
    figures: dict[str, float] = {f"{row['app']}_{row['system']}": row["right"][0] for row in rows}
    recorded = [row for row in rows if row["system"] == "recorded"]
    plans = [row for row in rows if row["system"] == "plans"]
    left = [row for row in plans if row["left_out"]]
    for key, some in (("script_end_state", recorded), ("left_out_end_state", left)):
        if some:
            figures[key] = sum(row["right"][0] * row["tasks"] for row in some)
            figures[key] /= sum(row["tasks"] for row in some)
    if left:
        figures["left_out_worst"] = min(row["right"][0] for row in left)
    figures["left_out_apps"] = len(left)
    figures["false_success_share"] = sum(row["false"] for row in plans) / max(
        sum(row["said_done"] for row in plans), 1
    )
    figures["wrong_records"] = sum(row["wrong_rows"] for row in plans)
    told = [one for row in recorded for one in prompts(row["app"])]
    if told:
        figures["prompt_complete_share"] = sum(told) / len(told)
    write_result(
        NAME,
        protocol=str(__doc__).rpartition("\n\n")[2].replace("\n", " ").strip(),
        data=content_hash({path.name: path.read_text() for path in sorted(TASKS.glob("*.toml"))}),
        seeds=[],
        rows=rows,
        figures=figures,
        folder=folder,
    )


if __name__ == "__main__":
    main()
