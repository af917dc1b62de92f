"""Odd requests to the server of language models, on each of its engines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec

from tests.attacks.attack import Area, Attack
from tests.attacks.lm.forms import FORMS, LATE
from tests.attacks.lm.lm_door import ENGINES, REFUSED, LmDoor, lm_door
from tests.attacks.lm.odd_requests import odd_requests

_NEEDS = {"adapters": "transformers", "llamacpp": "xllamacpp", "openvino": "openvino_genai"}
#: Run at each change, on each engine; on OpenVINO, whose pipeline takes long to open, some of them.
_QUICK_ON_OPENVINO = {
    "the token 9223372036854775808",
    "structured_outputs: an empty grammar",
    "bytes: a schema 900 deep",
}
_QUICK = {
    "prompt: half a character",
    "the token 9223372036854775808",
    "the token 1000000000000000000000000000000",
    "temperature: 1e-320",
    "top_p: 1e-320",
    "top_k: 10^30",
    "structured_outputs: an empty grammar",
    "an echo of a token that is none",
    "prompt: 100,000 that are none",
    "bytes: a schema 900 deep",
    "a chain of 1,000 definitions by prefixItems",
    "a grammar: left recursion",
}
#: Schemas and grammars that each engine's own compiler gets; `compile` has all of them.
_FORMS = [name for at, name in enumerate(FORMS) if at % 3 == 0 or name in {*_QUICK, *LATE}]
#: Not on OpenVINO; what its other callers are answered meanwhile is the worker's concern.
_LATELY = (
    "OpenVINO tells only in a step that all requests share that XGrammar refuses what llguidance "
    "takes: the answer is 503, and the pipeline is opened again"
)


def _odd(name: str, vocabulary: int, door: LmDoor) -> Mapping[str, float]:
    odd = next(one for one in odd_requests(vocabulary) if one.name == name)
    return door.expect(door.send(odd.path, odd.body), odd.allowed)


def _form(name: str, door: LmDoor) -> Mapping[str, float]:
    status = door.complete({"structured_outputs": FORMS[name]()})
    return door.expect(status, REFUSED | {200})


def _area(engine: str) -> Area:
    vocabulary = ENGINES[engine]
    quick = _QUICK_ON_OPENVINO if engine == "openvino" else _QUICK
    odd = [
        Attack(one.name, partial(_odd, one.name, vocabulary), quick=one.name in quick)
        for one in odd_requests(vocabulary)
    ]
    late = _LATELY if engine == "openvino" else ""
    forms = [
        Attack(
            name, partial(_form, name), quick=name in quick, accepted=late if name in LATE else ""
        )
        for name in _FORMS
    ]
    return Area(f"lm-requests-{engine}", [*odd, *forms], shared=partial(lm_door, engine), memory=0)


AREAS = [
    _area(engine)
    for engine, package in _NEEDS.items()
    if find_spec(package) is not None and find_spec("llguidance") is not None
]
