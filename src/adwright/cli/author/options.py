"""Options of the verbs of `adwright author`, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from adwright.core.errors import ConfigError

__all__ = [
    "Again",
    "Attempts",
    "Attributes",
    "Batch",
    "BudgetMoney",
    "BudgetSeconds",
    "BudgetTokens",
    "Columns",
    "Concurrency",
    "Engine",
    "Instructions",
    "JobFolder",
    "Labels",
    "Locale",
    "MoneyOf",
    "NoRepair",
    "OverEdits",
    "Platform",
    "PriceAnswer",
    "PriceCached",
    "PricePrompt",
    "Products",
    "Rewrite",
    "Sample",
    "Served",
    "Server",
    "Shop",
    "ShopCurrency",
    "Slots",
    "Temperature",
    "ValueColumns",
    "Values",
    "Variants",
    "Variety",
    "Voice",
    "comma_list",
    "pairs_of",
    "read_labels",
]

JobFolder = Annotated[Path, typer.Argument(help="Folder that `adwright author write` wrote to.")]
Products = Annotated[
    Path,
    typer.Argument(
        help="Table of products: .csv, .tsv, .jsonl or .parquet, as Shopify, WooCommerce or a "
        "Google feed has it, or with columns of your own; or a Google feed as .xml (RSS, Atom)."
    ),
]
Slots = Annotated[
    str,
    typer.Option(
        "--slots",
        help="What to write, with commas between: headline, long_headline, primary_text, "
        "description, short_description, meta_description, title, category.",
    ),
]
Platform = Annotated[
    Literal["google-rsa", "google-shopping", "meta", "amazon"] | None,
    typer.Option(
        "--platform",
        help="Whose limits hold. On google-rsa and meta, `description` is the text of an ad.",
    ),
]
Variants = Annotated[
    int, typer.Option("--variants", min=1, max=100, help="Texts of each slot, for A/B tests.")
]
Voice = Annotated[
    Path | None,
    typer.Option(
        "--voice",
        help="TOML file with the brand's voice: tone, banned, required, examples, locale.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="File with the categories to choose from, one a line."),
]
Values = Annotated[
    list[str] | None,
    typer.Option(
        "--value", help="What else the model is told, NAME=TEXT: occasion=Easter; may be repeated."
    ),
]
ValueColumns = Annotated[
    str | None,
    typer.Option(
        "--value-columns",
        help="The same, out of columns: query=search_term; `title` needs a query.",
    ),
]
Instructions = Annotated[
    list[str] | None,
    typer.Option(
        "--instruction",
        help="SLOT=TEXT: what the model is told for a slot, in the place of our words.",
    ),
]
Temperature = Annotated[
    float,
    typer.Option("--temperature", min=0, help="Of first variants; 0 takes the likeliest token."),
]
Variety = Annotated[
    float, typer.Option("--variety", min=0, help="Temperature of further variants and attempts.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Products that are written at a time.")]
Attempts = Annotated[
    int, typer.Option("--attempts", min=1, help="Times that a text is asked for, at most.")
]
Sample = Annotated[
    int,
    typer.Option("--sample", min=0, help="Only so many products, drawn by the seed; 0 for all."),
]
NoRepair = Annotated[
    bool, typer.Option("--no-repair", help="Leave texts as they come; findings are noted.")
]
Rewrite = Annotated[
    bool,
    typer.Option(
        "--rewrite",
        help="Write anew what was written with other settings, but what a person decided on.",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Write rejected texts anew.")]
OverEdits = Annotated[
    bool,
    typer.Option("--over-edits", help="Write even over texts that a person edited or approved."),
]
BudgetTokens = Annotated[
    int, typer.Option("--budget-tokens", min=0, help="Stop after so many tokens; 0 for no bound.")
]
BudgetSeconds = Annotated[
    float, typer.Option("--budget-seconds", min=0, help="Stop after so long; 0 for no bound.")
]
BudgetMoney = Annotated[
    float,
    typer.Option("--budget-money", min=0, help="Stop when it has cost so much."),
]
PricePrompt = Annotated[
    float, typer.Option("--price-prompt", min=0, help="Of a million tokens of prompts.")
]
PriceAnswer = Annotated[
    float, typer.Option("--price-answer", min=0, help="Of a million tokens of answers.")
]
PriceCached = Annotated[
    float | None,
    typer.Option("--price-cached", min=0, help="Of a million tokens of prompts from a cache."),
]
MoneyOf = Annotated[str, typer.Option("--money", help="Currency of prices and budget.")]
Shop = Annotated[
    Literal["shopify", "woocommerce", "google-feed", "table"] | None,
    typer.Option("--format", help="Whose columns these are; by default what they tell."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="Which column is which: id=sku,title=name; also description, brand, category, price, "
        "currency, locale.",
    ),
]
Attributes = Annotated[
    str | None,
    typer.Option("--attributes", help="Further columns that are facts: material,colour."),
]
Locale = Annotated[
    str, typer.Option("--locale", help="Language of rows that do not tell theirs: en, de-AT.")
]
ShopCurrency = Annotated[str, typer.Option("--currency", help="Of prices without one: EUR.")]
Engine = Annotated[
    Literal["auto", "openvino", "paged", "torch", "llamacpp"],
    typer.Option(
        "--engine",
        help="auto takes OpenVINO where it can run the model, else paged, our own, which takes "
        "adapters.",
    ),
]
Server = Annotated[
    str,
    typer.Option(
        "--url",
        "--server",
        help="Ask an OpenAI-compatible server instead: http://HOST:PORT/v1; its key is read from "
        "ADWRIGHT_LM_KEY or OPENAI_API_KEY.",
    ),
]
Served = Annotated[str, typer.Option("--served-model", help="Name of the model there.")]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency", min=0, help="Requests at a time to a server, or rows of the paged engine."
    ),
]


def comma_list(text: str | None) -> tuple[str, ...]:
    """The parts of a,b,c."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def pairs_of(option: str, given: list[str] | None) -> tuple[tuple[str, str], ...]:
    """The pairs of NAME=TEXT, each given by itself. option: whose they are, for the ConfigError."""
    found = []
    for one in given or ():
        name, sign, text = one.partition("=")
        if not sign or not name.strip() or not text.strip():
            raise ConfigError(f"{one[:60]!r} is no pair", where=option, hint="write NAME=TEXT")
        found.append((name.strip(), text.strip()))
    return tuple(found)


def read_labels(path: Path | None) -> tuple[str, ...]:
    """The lines of a file that are not blank, each once. Raises ConfigError where it cannot be
    read, or has none."""
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise ConfigError(
            f"the labels cannot be read: {why}", where=str(path), hint="a label a line, in UTF-8"
        ) from error
    labels = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not labels:
        raise ConfigError("the file has no label", where=str(path), hint="write a label a line")
    return labels
