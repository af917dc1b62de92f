"""The model card of the writer's adapter, out of what its training measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

_HEAD = """# The writer of scripts

Writes a script of `adwright.agent.language` for a task, out of the elements that were retrieved for
it. `python -m benchmarks.agent.train_writer` made it.
"""
_SPLITS = {
    "words": "words of templates that it has not learned",
    "state": "states that it has not learned",
    "both": "words and states that it has not learned",
}
_END = """
## What it is for, and what not

It writes short scripts of the forms that it has learned: pick an item, fill a form, send it; make,
delete, read and count; with a condition. It has learned English alone, from templates. Whatever it
writes is checked before anything is tapped, and acts behind the policy of the run. A script that
passes the check may still be another than was meant: see what the agent's benchmarks say of end
states.
"""


class SplitScore(Protocol):
    """What is told of one model on one split."""

    @property
    def model(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def tasks(self) -> int: ...
    @property
    def checked(self) -> float: ...
    @property
    def solved(self) -> float: ...


def writer_card(training: Mapping[str, Any], scores: Sequence[SplitScore]) -> str:
    """The card as Markdown."""
    lines = [_HEAD, "| what | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _facts(training)]
    lines += [
        "\nGreedy scripts, decoded by the grammar, for tasks that it has not learned:\n",
        "| tasks | model | number | pass the check | are the solution |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {_SPLITS[one.split]} | {one.model} | {one.tasks} | {one.checked:.0%} | "
        f"{one.solved:.0%} |"
        for one in scores
    ]
    return "\n".join(lines) + "\n" + _END


def _facts(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    settings = told["settings"]
    yield "base", f"{told['base']}; SmolLM2-135M-Instruct is under Apache-2.0"
    yield "licence of the adapter", "Apache-2.0, as adwright"
    yield (
        "method",
        f"LoRA on all linear maps, rank {settings['rank']}, alpha {settings['alpha']:g}: "
        f"{told['trainable']:,} parameters",
    )
    yield "files", f"`tuned/`: {told['bytes'] / 1e6:.1f} MB, safetensors, with hashes"
    yield (
        "data",
        f"{told['rows']:,} tasks of ours with solutions that were proved by end state, on made-up "
        f"consoles ({told['kept_made']:,} solutions), django-oscar ({told['kept_oscar']:,}) and "
        f"SQLAdmin ({told['kept_admin']:,})",
    )
    yield (
        "training",
        f"{told['steps']} steps, {told['tokens']:,} tokens, {told['cpu_seconds']:.0f} CPU-seconds "
        "of one thread, beside other work",
    )
    if told["base_nll"] is not None:
        yield (
            "loss of held-out answers",
            f"{told['base_nll']:.2f} nats per token without it, {told['valid_nll']:.2f} with it",
        )
