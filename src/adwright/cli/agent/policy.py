"""adwright agent policy."""

from __future__ import annotations

from pathlib import Path

import typer

from adwright.cli.shared import show_facts
from adwright.core.errors import ConfigError


def policy(
    file: Path | None = None,
    *,
    example: str = "",
) -> None:
    """Check a policy and say what it allows, or print a careful one with all its keys.

    adwright agent policy --example https://shop.example

    adwright agent policy shop.policy.toml

    Options:
        file: A policy to be checked.
        example: Instead print a careful policy for the app at this URL.
    """
    from adwright.agent.document.elements import origin_of
    from adwright.agent.operate.policy_file import load_policy, policy_text

    if (file is None) == (not example):
        raise ConfigError(
            "a file to be checked, or --example URL", where="adwright agent policy", hint="give one"
        )
    if file is None:
        typer.echo(policy_text(origin_of(example) or example), nl=False)
        return
    found = load_policy(file)
    caps, budget = found.caps, found.budget
    facts = {
        "reach": ", ".join(found.reach.origins),
        "asked about": f"{', '.join(found.confirm.ask)}, and each from write {found.confirm.bulk}",
        "writes": f"{caps.writes_a_run} a run, {caps.writes_a_day} a day",
        "run": f"{budget.acts} acts, {budget.writes} that may write, {budget.seconds:g} s",
        "secrets": ", ".join(f"{one.name} from {one.variable}" for one in found.secrets) or "none",
        "sign-in": found.sign_in.url if found.sign_in else "none",
        "unknown effects": "after a yes" if found.unknown else "refused",
    }
    show_facts(facts)
