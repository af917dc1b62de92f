"""Abt-Buy by search: do descriptions that a tuned model writes help a product to be found?

The catalogue is Abt's products of held-out clusters; a query is Buy's name of the same product,
which neither the model nor its training has seen, and its one answer is that product, grade 1.
Each description is written from the title, the price and the details of the original one. Three
seeds of the model for all tasks; BM25 and MiniLM.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from adwright.authoring.checks.verdict import repair
from adwright.authoring.describe.queries import GradedJudgement, Judged, SearchQuery, judged_by
from adwright.authoring.describe.rankers import Bm25Ranker, VectorRanker
from adwright.authoring.describe.search import DescriptionSearch, compare_search
from adwright.authoring.instructions.build import split_of
from adwright.authoring.instructions.rows import AuthoringExample, with_details
from adwright.authoring.instructions.sources import MatchRecord, product_of, read_matches
from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, TokenPrompt
from adwright.lm.sentence_encoder import SentenceEncoder
from benchmarks.authoring._models import adapter, asked_through
from benchmarks.authoring._prompts import Asking, prompt_ids
from benchmarks.authoring._rows import part_named
from benchmarks.authoring._texts import checks_of

_PENALTY = 1.1


def search_job(seeds: Sequence[int], trial: int = 0) -> dict[str, Any]:
    """The rows of the comparison. trial: products, for a trial."""
    began = time.process_time()
    products, judged = _catalogue(trial)
    written = []
    for seed in seeds:
        folder = adapter("one", seed, rows=trial)
        with asked_through([folder]) as models:
            written.append(_written(models[folder.name], products))
    found = compare_search(
        products, written, judged, [Bm25Ranker(), VectorRanker(SentenceEncoder())]
    )
    return _told(found) | {"cpu_seconds": round(time.process_time() - began, 1)}


def _catalogue(trial: int) -> tuple[list[Product], Judged]:
    """Abt's products of test clusters with their descriptions, and Buy's names as queries."""
    records = [
        one
        for one in read_matches(Path(os.environ["ADWRIGHT_DATA"]) / "abt-buy")
        if split_of(one.cluster, seed=0, valid=0.1, test=0.25) == "test"
    ]
    shop = [one for one in records if one.side == 0][: trial or None]
    cluster = {one.cluster: one.id for one in shop}
    asked = [one for one in records if one.side == 1 and one.cluster in cluster]
    queries = [SearchQuery(one.id, one.fields["name"]) for one in asked if one.fields.get("name")]
    judgements = [
        GradedJudgement(one.id, product.id, 1)
        for one in asked
        for product in shop
        if product.cluster == one.cluster
    ]
    products = [_described(one) for one in shop]
    return products, judged_by(queries, judgements, [one.id for one in products])


def _described(record: MatchRecord) -> Product:
    return replace(product_of(record), description=record.fields.get("description", "").strip())


def _written(model: LanguageModel, products: Sequence[Product]) -> Mapping[str, str]:
    """Product id to what the checker made of the description that the model wrote."""
    part = part_named("descriptions")
    requests = [_request(one) for one in products]
    config = GenerationConfig(max_tokens=part.tokens, repetition_penalty=_PENALTY)
    prompts = [TokenPrompt(prompt_ids(one, Asking("short"))) for one in requests]
    answers, checks = model.generate(prompts, config), checks_of(part)
    return {
        one.product.id: repair(answer.text.strip(), one, checks).text
        for one, answer in zip(requests, answers, strict=True)
    }


def _request(product: Product) -> AuthoringRequest:
    bare = replace(product, description="")
    request = AuthoringRequest(task_named("descriptions"), bare)
    if not product.description:
        return request
    example = AuthoringExample(request, product.description, product.id, "abt-buy")
    return with_details(example).request


def _told(found: DescriptionSearch) -> dict[str, Any]:
    return {
        "k": found.k,
        "products": found.products,
        "cold": found.cold,
        "echoes": [len(one) for one in found.echoes],
        "written": list(found.written),
        "rows": [asdict(row) for row in found.rows],
    }
