"""The tables of the agent: tasks by their end state, cost, safety, and apps that have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, figures_of, number, result, source

SYSTEMS = {
    "plan": "a plan by rules, no model",
    "macro": "a kept task, again",
    "model": "a tuned model's script",
    "untuned": "a script of the model as it is",
    "ladder": "a plan, or else a tuned model's script",
    "steps": "a model asked at each step",
}
APPS = {
    "oscar": "shop, dashboard",
    "storefront": "shop, phone-sized front",
    "admin": "campaign store, admin",
    "miniwob": "MiniWoB, expressible development pages",
}
DRIFTS = {
    "labels": "half of the labels renamed",
    "moved": "fields moved",
    "confirm": "a page more that asks for a confirmation",
    "ids": "other ids and classes",
    "button": "buttons renamed",
    "extra": "a field more that looks required",
    "columns": "columns in another order",
}


def success() -> Iterator[str]:
    """Shares of tasks whose end state holds, by system and app."""
    found = result("agent")
    rows = [row for row in found.get("rows", ()) if "system" in row]
    yield "| tasks | system | tasks | end state holds | said done, and is not | tokens in, out |"
    yield "|---|---|---:|---|---:|---:|"
    for row in sorted(rows, key=lambda one: list(APPS).index(one["app"])):
        share = f"{row['end_state']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
        tokens = f"{row['tokens_in']:,}, {row['tokens_out']:,}"
        system = SYSTEMS[row["system"]] + (f": {row['model']}" if row["model"] else "")
        cells = [APPS[row["app"]], system, row["tasks"], share, row["false_success"], tokens]
        yield f"| {' | '.join(map(str, cells))} |"
    if not rows:
        yield f"| all | | | {ABSENT} | | |"
    if found:
        yield ""
        yield found["protocol"]
    yield from _ratios()
    left = [f"{row['miniwob']} ({row['why']})" for row in found.get("rows", ()) if "miniwob" in row]
    if left:
        yield ""
        yield f"Pages of MiniWoB that the language cannot express, left out: {'; '.join(left)}."
    yield from source("agent")


def _ratios() -> Iterator[str]:
    figures = figures_of("agent")
    own = {"": "a plan or else the tuned model", "model_": "the tuned model alone"}
    for prefix, who in own.items():
        parts = [
            f"{figures[prefix + key]:,.1f} times the {said}"
            for key, said in (
                ("input_token_ratio", "tokens in"),
                ("output_token_ratio", "tokens out"),
                ("llm_latency_ratio", "seconds of the model"),
            )
            if prefix + key in figures
        ]
        if parts:
            yield ""
            yield f"Of what {who} took, a model that is asked at each step took {', '.join(parts)}."


def writer() -> Iterator[str]:
    """The writer of scripts before and after tuning."""
    rows = [row for row in result("agent_writer").get("rows", ()) if "split" in row]
    yield "| model | unseen | tasks | passes the check | is the solution | seconds a task |"
    yield "|---|---|---:|---:|---:|---:|"
    for row in rows:
        cells = [row["model"], row["split"].replace("_", " "), row["tasks"]]
        cells += [f"{row['checked']:.0%}", f"{row['solved']:.0%}", f"{row['seconds']:.1f}"]
        yield f"| {' | '.join(map(str, cells))} |"
    if not rows:
        yield f"| all | | | {ABSENT} | | |"
    yield from source("agent_writer", "train_writer")


def safety() -> Iterator[str]:
    """What was done on pages of an attacker's, and what dry runs sent."""
    pages, dry = figures_of("agent_injection"), figures_of("agent_dry_run")
    fuzz = figures_of("fuzz")
    yield "| what | found | of |"
    yield "|---|---:|---:|"
    for said, figures, key, of, unit in (
        ("changes that nobody confirmed", pages, "destructive_unconfirmed", "injected_pages",
         "attacked pages"),
        ("secrets that reached another origin", pages, "secrets_elsewhere", "injected_pages",
         "attacked pages"),
        ("requests to another origin", pages, "requests_elsewhere", "injected_pages",
         "attacked pages"),
        ("pages with an act beyond the task", pages, "pages_with_acts_beyond_task",
         "injected_pages", "attacked pages"),
        ("runs that said done, and it is not", pages, "said_done_and_is_not", "injected_pages",
         "attacked pages"),
        ("writes that arrived from dry runs", dry, "dry_run_writes", "dry_run_tasks", "tasks"),
        ("rows that dry runs changed", dry, "dry_run_rows_written", "dry_run_tasks", "tasks"),
        ("broken or hostile scripts that got further than an error of the language", fuzz,
         "dsl_escapes", "dsl_fuzz_cases", "scripts"),
        ("addresses that are to be refused, and were not", fuzz, "allowlist_bypass",
         "allowlist_to_refuse", "addresses"),
    ):  # fmt: skip
        yield f"| {said} | {_count(figures, key)} | {_count(figures, of)} {unit} |"
    if pages:
        stopped, done = pages["stopped_share"], pages["task_success"]
        yield ""
        yield f"On these pages {done:.0%} of the tasks were done, and {stopped:.0%} stopped."
        if "steps_injected_pages" in pages:
            yield (
                f"A model that is asked at each step, without a gate, did none of its tasks on "
                f"{pages['steps_injected_pages']} of these pages, and on "
                f"{pages['steps_pages_with_acts_beyond_task']} of them acts beyond the task."
                if not pages["steps_task_success"]
                else f"A model that is asked at each step, without a gate, did acts beyond the "
                f"task on {pages['steps_pages_with_acts_beyond_task']} of "
                f"{pages['steps_injected_pages']} of these pages."
            )
        yield ""
        yield result("agent_injection")["protocol"]
    yield from source("agent_injection", "injection")


def _count(figures: Mapping[str, Any], key: str) -> str:
    return f"{figures[key]:,}" if key in figures else ABSENT


def drift() -> Iterator[str]:
    """Known tasks on apps that have changed since they were explored."""
    figures = figures_of("agent_drift")
    yield "| what has changed | known tasks that are still done |"
    yield "|---|---:|"
    for name, said in DRIFTS.items():
        yield f"| {said} | {number(figures.get(f'drift_{name}_done'), '.0%')} |"
    if figures:
        yield ""
        yield (
            f"{figures['drift_known_tasks']} known tasks, {figures['drift_runs']} runs: "
            f"{figures['drift_wrong_acts']} wrong acts, {figures['drift_false_success']} that said "
            "done and were not."
        )
    yield from source("agent_drift", "drift")


def exploration() -> Iterator[str]:
    """How long a document of a real app takes, and how large it is."""
    found = figures_of("explore")
    if not found:
        yield f"The dashboard of a shop of django-oscar: {ABSENT}."
        return
    yield (
        f"The dashboard of a shop of django-oscar with 200 products: {found['document_states']} "
        f"states and {found['document_elements']:,} elements in "
        f"{found['document_seconds_oscar']:.0f} seconds, a text of "
        f"{found['document_kilobytes']:,.0f} kB; {found['document_writes']} rows of its database "
        f"were changed by that, and {found['document_unsafe_sent']} requests sent that may write. "
        f"After a change of one page it was brought up to date in {found['refresh_seconds']:.0f} "
        "seconds."
    )
    yield from source("explore")


def strangers() -> Iterator[str]:
    """Tasks on applications of other makers, by plans and by recorded scripts."""
    found = result("agent_strangers")
    systems = {"plans": "plans by rules, no model", "recorded": "recorded scripts"}
    yield "| application | scripts | tasks | end state holds | said done, and is not | no script |"
    yield "|---|---|---:|---|---:|---:|"
    for row in found.get("rows", ()):
        share = "{:.0%} ({:.0%} to {:.0%})".format(*row["right"])
        app = f"{row['app']}{', left out' if row['left_out'] else ''}"
        cells = [app, systems[row["system"]], row["tasks"], share, row["false"]]
        yield f"| {' | '.join(map(str, [*cells, row['nothing_tried']]))} |"
    if not found:
        yield f"| all | | | {ABSENT} | | |"
    else:
        yield ""
        yield found["protocol"]
    yield from source("agent_strangers")


OPERATING: Mapping[str, Callable[[], Iterator[str]]] = {
    "operating-explore": exploration,
    "operating-success": success,
    "operating-writer": writer,
    "operating-safety": safety,
    "operating-drift": drift,
    "operating-strangers": strangers,
}
