"""Requests that are odd in one place: types, ranges, numbers at the edge, half characters."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tests.attacks.lm.lm_door import REFUSED

_FINE = frozenset((200,))
_EITHER = REFUSED | _FINE
_NAN, _INF = float("nan"), float("inf")
_HALF = "a\ud800b"
_LONG = "tea " * 200_000


@dataclass(frozen=True)
class OddRequest:
    """A body at a path, and what it may be answered with."""

    name: str
    path: str
    body: bytes
    allowed: Collection[int] = REFUSED


def odd_requests(vocabulary: int) -> list[OddRequest]:
    """All of them for a model of so many tokens."""
    return [*_completions(vocabulary), *_chats(), *_embeddings(), *_raw()]


def _completion(name: str, allowed: Collection[int] = REFUSED, **fields: Any) -> OddRequest:
    return _odd(name, "completions", {"prompt": "tea", "max_tokens": 2} | fields, allowed)


def _odd(name: str, path: str, fields: Mapping[str, Any], allowed: Collection[int]) -> OddRequest:
    body = json.dumps({"model": "base", **fields}).encode()
    return OddRequest(name, path, body, allowed)


#: Of a completion, by field: values that are refused.
_WRONG: dict[str, dict[str, Any]] = {
    "prompt": {
        "null": None,
        "an object": {},
        "a number": 5,
        "true": True,
        "nothing in a list": [],
        "a list of nothing": [[]],
        "a number and a text": [1, "a"],
        "100,000 texts and a number": ["a"] * 100_000 + [1],
        "100,000 that are none": [None] * 100_000,
        "65 texts": ["a"] * 65,
        "lists of lists": [[[1]]],
        "a fraction": [1.5],
        "digits as text": [["1"]],
        "half a character": _HALF,
        "half a character in a list": ["tea", _HALF],
        "800,000 letters": _LONG,
        "300,000 tokens": [1] * 300_000,
    },
    "max_tokens": {"0": 0, "-1": -1, "2,049": 2049, "10^30": 10**30, "text": "five", "1.5": 1.5},
    "temperature": {
        **{"-1": -1, "2.1": 2.1, "NaN": _NAN, "infinity": _INF, "10^400": 10**400},
        **{"1e-320": 1e-320, "1e-7": 1e-7, "text": "hot", "a list": [1]},
    },
    "top_p": {"0": 0, "1.1": 1.1, "1e-320": 1e-320, "NaN": _NAN, "-1": -1},
    "top_k": {"-2": -2, "2^31": 2**31, "2^63": 2**63, "10^30": 10**30, "1.5": 1.5, "NaN": _NAN},
    "repetition_penalty": {"0": 0, "1e-320": 1e-320, "11": 11, "NaN": _NAN, "-1": -1},
    "seed": {"-1": -1, "2^62": 2**62, "2^64": 2**64, "10^30": 10**30, "text": "a", "1.5": 1.5},
    "n": {"0": 0, "-1": -1, "65": 65, "10^30": 10**30, "text": "two"},
    "stop": {
        "17 strings": ["a"] * 17,
        "a number": 5,
        "numbers": [5],
        "1,001 letters": "a" * 1001,
        "900,000 letters": ["a" * 900_000],
        "an object": {},
    },
    "logprobs": {"21": 21, "-1": -1, "text": "a", "1.5": 1.5},
    "stream": {"a number": 7, "text": "perhaps"},
    "stream_options": {"a list": [1], "an unknown one": {"include_all": True}},
    "frequency_penalty": {"3": 3.0, "NaN": _NAN},
    "presence_penalty": {"-3": -3.0},
    "model": {"unknown": "other", "a number": 5, "half a character": _HALF, "long": "a" * 10_000},
    "echo": {"text": "perhaps", "a list": [True]},
    "logit_bias": {"on a word": {"tea": 1}, "of 101": {"5": 101}, "on 10^30": {str(10**30): 1}},
    "response_format": {
        "of an unknown type": {"type": "xml"},
        "without its schema": {"type": "json_schema"},
        "with a schema that is text": {"type": "json_schema", "json_schema": {"schema": "a"}},
        "a text": "json",
    },
    "structured_outputs": {
        "empty": {},
        "both": {"json": {}, "grammar": "root ::= [a]"},
        "a list as schema": {"json": []},
        "a number as grammar": {"grammar": 5},
        "an empty grammar": {"grammar": ""},
        "a regex that is none": {"regex": "("},
    },
    **{name: {"given": {}} for name in ("tools", "best_of", "suffix", "a" * 5000)},
}
#: Values that are no fault, or one in some models alone.
_ODD_BUT_FINE: dict[str, Any] = {
    "no temperature": {"temperature": -0.0},
    "null for top_p": {"top_p": None},
    "two likeliest tokens": {"logprobs": 2},
    "a frequency penalty": {"frequency_penalty": 1.0, "presence_penalty": -1.0},
    "no biases": {"logit_bias": {}},
    "a regex": {"structured_outputs": {"regex": "a"}},
    "an echo before its answer": {"echo": True, "logprobs": 1},
    "an echo of one token": {"echo": True, "max_tokens": 0, "logprobs": 0, "prompt": [1]},
    "a stream of two answers": {"stream": True, "n": 2},
    "a stream of two prompts": {"stream": True, "prompt": ["a", "b"]},
    "a stream of an echo": {"stream": True, "echo": True},
    "a temperature of 1e-6": {"temperature": 1e-6},
    "a top_p of 1e-6": {"top_p": 1e-6},
    "a top_k of 2^31 - 1": {"top_k": 2**31 - 1},
    "a penalty of 0.01": {"repetition_penalty": 0.01},
    "the last seed": {"seed": 2**62 - 1, "temperature": 1},
    "empty stops": {"stop": ["", ""]},
    "a stop with half a character": {"stop": _HALF},
    "a stop that is a zero byte": {"stop": "\0"},
    "an empty prompt": {"prompt": ""},
    "a zero byte": {"prompt": "a\0b"},
    "all planes": {"prompt": "é€😀\U0010ffff\u202e\ufeff"},
    "special tokens": {"prompt": "<|im_end|><|begin|><|end|></s>" * 5},
    "true among tokens": {"prompt": [True]},
    "half a user": {"user": _HALF},
    "all at the edge": {"temperature": 2, "top_p": 1e-6, "top_k": 1, "repetition_penalty": 10},
}


def _completions(vocabulary: int) -> list[OddRequest]:
    wrong = [
        _completion(f"{field[:20]}: {name}", **{field: value})
        for field, values in _WRONG.items()
        for name, value in values.items()
    ]
    fine = [_completion(name, _EITHER, **fields) for name, fields in _ODD_BUT_FINE.items()]
    ids = (-1, vocabulary, vocabulary + 1, 2**31 - 1, 2**31, 2**63, 10**30)
    tokens = [_completion(f"the token {one}", prompt=[1, one]) for one in ids]
    tokens += [_completion(f"the token {one} in the second", prompt=[[1], [one]]) for one in ids]
    tokens += [_completion("the last token", _FINE, prompt=[vocabulary - 1])]
    echo = {"echo": True, "max_tokens": 0, "logprobs": 0}
    echoes: dict[str, dict[str, Any]] = {
        "of half a character": {"prompt": _HALF},
        "of a token that is none": {"prompt": [1, vocabulary]},
        "of 10^30": {"prompt": [1, 10**30]},
        "streamed": {"stream": True},
        "twice": {"n": 2},
        "of 300,000 tokens": {"prompt": [1] * 300_000},
        "without logprobs": {"logprobs": None},
    }
    streams: dict[str, dict[str, Any]] = {
        "of half a character": {"prompt": _HALF},
        "of a token that is none": {"prompt": [vocabulary]},
        "with an empty grammar": {"structured_outputs": {"grammar": " "}},
        "with a broken grammar": {"structured_outputs": {"grammar": "root ::= ("}},
    }
    return [
        *(*wrong, *fine, *tokens),
        *(_completion(f"an echo {name}", **{**echo, **more}) for name, more in echoes.items()),
        *(
            _completion(f"a stream {name}", **{"stream": True, **more})
            for name, more in streams.items()
        ),
    ]


def _chats() -> list[OddRequest]:
    turn = {"role": "user", "content": "tea"}
    wrong: dict[str, dict[str, Any]] = {
        "no messages": {"messages": []},
        "messages as text": {"messages": "tea"},
        "an unknown role": {"messages": [turn | {"role": "tool"}]},
        "no content": {"messages": [turn | {"content": None}]},
        "an image": {"messages": [turn | {"content": [{"type": "image_url"}]}]},
        "100,000 parts that are none": {"messages": [turn | {"content": [7] * 100_000}]},
        "1,001 turns": {"messages": [turn] * 1001},
        "50,000 turns that are none": {"messages": [{}] * 50_000},
        "half a character": {"messages": [turn | {"content": _HALF}]},
        "800,000 letters": {"messages": [turn | {"content": _LONG}]},
        "1,000 long turns": {"messages": [turn | {"content": "tea " * 200}] * 1000},
        "0 tokens": {"messages": [turn], "max_completion_tokens": 0},
        "top logprobs alone": {"messages": [turn], "top_logprobs": 5},
        "tools of nothing": {"messages": [turn], "tools": [{}]},
        "a template's messages": {"messages": [turn], "chat_template_kwargs": {"messages": "a"}},
        "a template's functions": {"messages": [turn], "chat_template_kwargs": {"range": 10**30}},
        "a template": {"messages": [turn], "chat_template": "{{ 7 * 7 }}"},
        "a prompt": {"messages": [turn], "prompt": "tea"},
        "a call of a user": {"messages": [turn | {"tool_calls": [{}]}]},
    }
    fine: dict[str, dict[str, Any]] = {
        "an empty turn": {"messages": [turn | {"content": ""}]},
        "parts of nothing": {"messages": [turn | {"content": []}]},
        "half a name": {"messages": [turn | {"name": _HALF}]},
        "top logprobs": {"messages": [turn], "logprobs": True, "top_logprobs": 5},
        "no tools": {"messages": [turn], "tools": []},
        "no calls": {"messages": [turn | {"tool_calls": []}]},
        "the system last": {"messages": [turn, turn | {"role": "system"}]},
        "words of the template": {"messages": [turn | {"content": "{{ 7 * 7 }}{% for %}"}]},
    }
    path, few = "chat/completions", {"max_tokens": 2}
    return [_odd(f"a chat: {name}", path, few | one, REFUSED) for name, one in wrong.items()] + [
        _odd(f"a chat: {name}", path, few | one, _EITHER) for name, one in fine.items()
    ]


def _embeddings() -> list[OddRequest]:
    wrong: dict[str, dict[str, Any]] = {
        "nothing": {"input": []},
        "a number": {"input": 5},
        "65 texts": {"input": ["a"] * 65},
        "half a character": {"input": _HALF},
        "800,000 letters": {"input": _LONG},
        "in hexadecimal": {"input": "a", "encoding_format": "hex"},
        "in no dimension": {"input": "a", "dimensions": 0},
        "in a million dimensions": {"input": "a", "dimensions": 10**6},
        "no model": {"input": "a", "model": None},
    }
    # Not every engine has embeddings; who has none says so.
    fine: dict[str, dict[str, Any]] = {
        "an empty text": {"input": ""},
        "tokens": {"input": [1, 2]},
        "in two dimensions": {"input": "a", "dimensions": 2},
    }
    return [
        *(_odd(f"embed {name}", "embeddings", one, REFUSED) for name, one in wrong.items()),
        *(_odd(f"embed {name}", "embeddings", one, _EITHER) for name, one in fine.items()),
    ]


def _raw() -> list[OddRequest]:
    start = b'{"model":"base","max_tokens":2,"prompt":'
    bodies: dict[str, bytes] = {
        "nothing": b"",
        "half a body": start + b'"te',
        "no JSON": b"model=base",
        "a list": b"[]",
        "bytes that are no text": start + b'"\xff\xfe"}',
        "UTF-16": '{"model":"base","prompt":"tea"}'.encode("utf-16"),
        "100,000 open brackets": start + b"[" * 100_000,
        "100,000 brackets": start + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "a schema 100,000 deep": start
        + b'"a","structured_outputs":{"json":'
        + b'{"items":' * 100_000
        + b"{}"
        + b"}" * 100_002,
        "a schema 900 deep": start
        + b'"a","structured_outputs":{"json":'
        + b'{"items":' * 900
        + b"{}"
        + b"}" * 902,
        "more than a megabyte": start + b'"' + b"a" * (1 << 20) + b'"}',
        "a number of 5,000 digits": start + b'"a","seed":' + b"9" * 5000 + b"}",
        "90,000 unknown fields": start
        + b'"a"'
        + b"".join(b',"f%d":1' % n for n in range(90_000))
        + b"}",
    }
    # JSON in UTF-16 is read as what it is.
    return [
        OddRequest(f"bytes: {name}", "completions", body, _EITHER if name == "UTF-16" else REFUSED)
        for name, body in bodies.items()
    ]
