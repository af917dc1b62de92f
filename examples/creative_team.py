"""A team of language-model calls that writes one ad, as Python functions.

    python creative_team.py                               # what it is, on a scripted engine
    python creative_team.py --url http://127.0.0.1:8002   # in a service: adwright programs serve

`adwright programs run creative-team` runs the same team from its JSON file.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.frontend.explain import explain
from adwright.programs.frontend.flow import (
    Flow,
    Input,
    Output,
    Runtime,
    TextFuture,
    semantic_function,
)
from adwright.programs.frontend.remote import RemoteProgram
from adwright.programs.program import THROUGHPUT
from adwright.programs.runner import AskedChain, Session
from adwright.programs.steps import Numbered, Trim

SHORT = GenerationConfig(max_tokens=40, stop=('"', "\n"), repetition_penalty=1.15)
ANGLES = ("its taste", "a quiet morning", "a present for a friend", "where it comes from")
REVIEWERS = ("the keeper of the brand", "the lawyer", "the reader for the ad network")


@semantic_function(settings={"brief": SHORT})
def write_brief(product: Input, brief: Output) -> None:
    """You work for a shop that sells loose tea by post. Promise nothing that is not so.
    The product: {{product}}

    A brief for the copywriters: "{{brief:output}}"""


@semantic_function(settings={"ad": SHORT})
def write_ad(product: Input, brief: Input, angle: Input, ad: Output) -> None:
    """You work for a shop that sells loose tea by post. Promise nothing that is not so.
    The product: {{product}}
    The brief: {{brief}}

    An ad of one sentence that speaks of {{angle}}: "{{ad:output}}"""


@semantic_function(settings={"view": SHORT})
def review(product: Input, ads: Input, who: Input, view: Output) -> None:
    """You work for a shop that sells loose tea by post. Promise nothing that is not so.
    The product: {{product}}
    The ads:
    {{ads}}

    You are {{who}}. Which of them is wrong, and how: "{{view:output}}"""


@semantic_function(settings={"ad": SHORT})
def edit(product: Input, ads: Input, reviews: Input, ad: Output) -> None:
    """You work for a shop that sells loose tea by post. Promise nothing that is not so.
    The product: {{product}}
    The ads:
    {{ads}}
    The reviews:
    {{reviews}}

    The one ad that will run: "{{ad:output}}"""


def team(flow: Flow, product: str) -> tuple[TextFuture, TextFuture]:
    """Write the program; nothing runs yet. Returns the variants and the ad."""
    facts = flow.value(product, "product")
    brief = write_brief(flow, facts)
    variants = [write_ad(flow, facts, brief, angle) for angle in ANGLES]
    (ads,) = flow.step(Numbered(), variants)
    (reviews,) = flow.step(Numbered(), [review(flow, facts, ads, who) for who in REVIEWERS])
    (ad,) = flow.step(Trim(), [edit(flow, facts, ads, reviews)])
    ads.want(THROUGHPUT)
    ad.want()
    return ads, ad


class Rehearsal:
    """An engine that answers with the name of the call: nothing is downloaded."""

    async def generate(self, asked: AskedChain, say: Callable[[str], None]) -> str:
        """The name."""
        return f"(what {asked.chain.call.name} would write)"


async def main(url: str, product: str) -> None:
    """Run the team, and print the variants and the ad as they come."""
    async with AsyncExitStack() as stack:
        runtime: Runtime
        if url:
            runtime = RemoteProgram(url, on_disconnect="cancel")
            stack.push_async_callback(runtime.close)
        else:
            runtime = await stack.enter_async_context(Session(Rehearsal()))
        flow = Flow(runtime)
        ads, ad = team(flow, product)
        print(explain(flow.program).text)
        print(await ads.get(THROUGHPUT))
        print(await ad.get())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="", help="of a service of programs")
    parser.add_argument("--product", default="green tea from Shizuoka, first harvest, 100 g")
    told = parser.parse_args()
    asyncio.run(main(told.url, told.product))
