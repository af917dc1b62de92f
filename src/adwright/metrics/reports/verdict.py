"""The first line of a comparison: is the model ahead of the simple rules, and if not, what to do.

Of the others the one matters that is furthest ahead, or nearest behind. Whether a lead counts is
told by its paired interval: where that holds 0, the two are not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from adwright.metrics.bootstrap import Interval

__all__ = ["advice", "in_words", "too_good", "verdict"]

#: An AUC from which on something is known that nobody knows before a response.
TOO_GOOD = 0.99


def verdict(
    subject: str,
    leads: Mapping[str, Interval],
    measure: str,
    *,
    losses: Mapping[str, Interval] | None = None,
) -> str:
    """One or two sentences; empty where there is nothing to compare with.

    subject: the model. leads: name of another -> how far the subject is ahead of it by `measure`,
    of which more is better. losses: name of another -> log loss of the subject minus that of the
    other, where the models give probabilities.
    """
    if not leads:
        return ""
    other = min(leads, key=lambda name: leads[name].value)
    lead = leads[other]
    behind = Interval(-lead.value, -lead.high, -lead.low)
    name = in_words(other)
    if behind.low > 0:
        first = name[0].upper() + name[1:]
        said = f"{first} is ahead of {subject} by {behind.text()} {measure}: {advice(other)}."
    elif lead.low > 0:
        others = f"all {len(leads)} others; of {name}, the best," if len(leads) > 1 else name
        said = f"{subject} is ahead of {others} by {lead.text()} {measure}."
    else:
        said = f"{subject} and {name} are not told apart: {subject} is ahead by "
        said += f"{lead.text('+.4f')} {measure}. Where they are alike, {advice(other)}."
    worse = {name: loss for name, loss in (losses or {}).items() if loss.low > 0}
    if worse:
        best = max(worse, key=lambda name: worse[name].value)
        said += (
            f" The probabilities of {subject} are worse than those of {in_words(best)}, by "
            f"{worse[best].text()} log loss: keep more of the negatives (--negative-rate), or "
            "calibrate on later rows."
        )
    return said


def too_good(auc: float) -> str:
    """The sentence about an AUC that no honest model reaches; empty for any other.

    >>> too_good(0.8)
    ''
    """
    if auc < TOO_GOOD:
        return ""
    return (
        f"An AUC of {auc:.4f} is too good to be true: look for a feature that is known only after "
        "the response (the warnings of adwright data import --task name some)."
    )


def in_words(name: str) -> str:
    """What the row of a table is, within a sentence.

    >>> in_words("Base"), in_words("frequency"), in_words("HSTU")
    ('the base model', 'personal frequency', 'HSTU')
    """
    match name.lower():
        case "base":
            return "the base model"
        case "frequency":
            return "personal frequency"
        case "logistic":
            return "the logistic model of the counts"
        case "din+base":
            return "the mean of DIN and the base model"
        case (
            "popularity"
            | "personal frequency"
            | "item-item"
            | "last items again"
            | "popularity lately"
            | "popularity by category"
        ):
            return name.lower()
        case _:
            return name


def advice(other: str) -> str:
    """What to do where a model or rule of this name is ahead."""
    match other.lower():
        case "item-item":
            return "use item-item (adwright train item-item)"
        case "personal frequency" | "frequency" | "last items again":
            return "use item-item, which can put what a user had first (adwright train item-item)"
        case "popularity" | "popularity lately" | "popularity by category":
            return (
                "serve popularity, and look whether the log has too few events a user, or the "
                "training too few epochs"
            )
        case "base":
            return 'use the base model (interest = "sum" under [model] in the run file)'
        case "din":
            return "use DIN alone (mix = false in the run file)"
        case "logistic":
            return (
                "counts alone do better: keep more of the negatives (--negative-rate), train "
                "longer, or look for features that say more than counts"
            )
        case _:
            return f"use {other}"
