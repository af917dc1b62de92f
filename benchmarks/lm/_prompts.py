"""Questions about products, and the sentences that are scored after them."""

from __future__ import annotations

from adwright.lm.engine.generation import Message

PRODUCTS = (
    *("tea", "coffee", "bread", "cheese", "apples"),
    *("shirts", "coats", "boots", "lamps", "mugs"),
)
ASKS = (
    "Write one sentence that sells {}.",
    "Name three things that people buy together with {}.",
    "Who buys {} in winter, and why?",
    "Give a short headline for an advertisement of {}.",
    "What should a shop say about its {}?",
)
SENTENCES = (
    " Our {} are chosen by people who use them every day, and they cost less this week.",
    " Most shoppers add bread, butter and a little something for the children.",
    " It keeps you warm, it lasts for years, and it fits into a small bag.",
)


def prompts() -> list[list[Message]]:
    """Return the 50 questions, one chat per row."""
    return [[Message("user", ask.format(one))] for one in PRODUCTS for ask in ASKS]


def sentences() -> list[str]:
    """Return the sentence that is scored after each question."""
    return [SENTENCES[row % len(SENTENCES)].format(PRODUCTS[row // len(ASKS)]) for row in range(50)]
