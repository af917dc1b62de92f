"""Schemas and grammars that strangers may send: long chains, deep nests, bombs and nonsense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

#: The field `structured_outputs` of a request.
Form = Mapping[str, Any]
_TEXT: dict[str, Any] = {"type": "string"}
_LINKS: dict[str, Callable[[Any], Any]] = {
    "prefixItems": lambda ref: {"type": "array", "prefixItems": [ref], "minItems": 1},
    "items": lambda ref: {"type": "array", "items": ref},
    "properties": lambda ref: {"type": "object", "properties": {"a": ref}, "required": ["a"]},
    "anyOf": lambda ref: {"anyOf": [ref, {"type": "null"}]},
    "allOf": lambda ref: {"allOf": [ref, {}]},
    "nothing else": lambda ref: ref,
}


def chained(link: str, links: int, *, key: str = "$defs") -> Form:
    """Definitions, each of which refers to the next. key: where they stand."""
    made = _LINKS[link]
    found = {f"d{at}": made({"$ref": f"#/{key}/d{at + 1}"}) for at in range(links)}
    return {"json": {key: found | {f"d{links}": _TEXT}, "$ref": f"#/{key}/d0"}}


def nested(link: str, levels: int) -> Form:
    """Schemas, each of which lies in the one before."""
    return {"json": reduce(lambda inner, _: _LINKS[link](inner), range(levels), _TEXT)}


def rule_chain(rules: int, *, backwards: bool = False) -> Form:
    """Rules of a grammar, each of which leads to the next."""
    lines = [f'r{at} ::= "a" r{at + 1}' for at in range(rules)]
    lines = lines[::-1] if backwards else lines
    return {"grammar": "\n".join(["root ::= r0", *lines, f'r{rules} ::= "b"'])}


def _doubled(rules: int, first: str) -> Form:
    """Rules, each of which is the next one twice."""
    lines = [f"{first}{at} ::= {first}{at + 1} {first}{at + 1}" for at in range(rules)]
    return {"grammar": "\n".join([f"root ::= {first}0", *lines, f'{first}{rules} ::= "a"'])}


def _ring(length: int) -> Form:
    found = {f"d{at}": {"$ref": f"#/$defs/d{(at + 1) % length}"} for at in range(length)}
    return {"json": {"$defs": found, "$ref": "#/$defs/d0"}}


def _many(key: str, count: int, part: Any = _TEXT) -> Form:
    return {"json": {"type": "object", key: {f"p{at}": part for at in range(count)}}}


def _choice(key: str, count: int) -> Form:
    return {"json": {key: [_many("properties", at % 7 + 1)["json"] for at in range(count)]}}


def _schema(schema: Any) -> Callable[[], Form]:
    return lambda: {"json": schema}


def _grammar(text: str) -> Callable[[], Form]:
    return lambda: {"grammar": text}


_PATTERNS = {
    "(a+)+": "(a+)+$",
    "(a|a)*": "(a|a)*b",
    "100,000 times": "a{1,100000}",
    "a thousand times a thousand": "(a{1,1000}){1,1000}",
    "a class 100,000 times": "[^x]{1,100000}",
    "letters 5,000 times": "\\p{L}{1,5000}",
    "a count of 6,000 digits": "a{" + "9" * 6000 + "}",
    "looks ahead": "(?=a)b",
    "looks behind": "(?<!a)b",
    "a back reference": "(a)\\1",
    "an open group": "(",
    "an open class": "[",
    "a wrong count": "a{5,2}",
    "anything 100 times": ".*" * 100,
    "(.*a){200}": "(.*a){200}",
    "needs 2^200 states": "(a|b)*a(a|b){200}",
    "5,000 beginnings": "^" * 5000,
    "4,000 empty choices": "a|" * 4000,
    "200 groups deep": "(" * 200 + "a" + ")*" * 200,
    "8,192 letters": "a" * 8192,
}
#: What llguidance takes and another compiler refuses.
_DISPUTED: dict[str, Any] = {
    "a property that nothing fits": {"properties": {"a": False}},
    "two properties of none": {"type": "object", "minProperties": 2},
    "an escape that does not end": {"type": "string", "pattern": "a\\"},
    "a reference with an escape": {"$defs": {"a/b": _TEXT}, "$ref": "#/$defs/a~1b"},
    "a whole number from 1.5": {"type": "integer", "minimum": 1.5},
    "a whole number to 10^30": {"type": "integer", "maximum": 10**30},
}
_SCHEMAS: dict[str, Any] = {
    "refers to itself": {"$ref": "#"},
    "a list of itself": {"type": "array", "items": {"$ref": "#"}},
    "itself or nothing": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    "all of itself": {"allOf": [{"$ref": "#"}]},
    "an unknown reference": {"$ref": "#/$defs/none"},
    "a remote reference": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a reference to a file": {"$ref": "file:///etc/passwd"},
    "a reference that climbs": {"$ref": "#/$defs/../../a"},
    "an empty reference": {"$ref": ""},
    "a reference that is a number": {"$ref": 7},
    "a reference to a number": {"$ref": "#/minimum", "minimum": 7},
    "an id elsewhere": {"$id": "http://127.0.0.1:9/a", "$ref": "b"},
    "an unknown dialect": {"$schema": "http://127.0.0.1:9/dialect", "type": "string"},
    "an unknown type": {"type": "nothing"},
    "a type that is a number": {"type": 5},
    "1,000 types": {"type": ["string"] * 1000},
    "an unknown format": {"type": "string", "format": "nothing"},
    "a keyword nobody knows": {"nothing": {"type": "string"}},
    "no value fits": {"type": "object", "properties": {"a": False}, "required": ["a"]},
    "an empty enum": {"enum": []},
    "an enum of 5,000": {"enum": [f"v{at}" for at in range(5000)]},
    "an enum of 20,000": {"enum": [f"value {at}" for at in range(20_000)]},
    "a literal of 8,000": {"const": "a" * 8000},
    "a literal of 900,000": {"const": "a" * 900_000},
    "half a character": {"const": "\ud800"},
    "a name with half a character": {"properties": {"\udfff": {}}},
    "a zero byte": {"const": "\0"},
    "not a number": {"minimum": float("nan")},
    "infinity": {"maximum": float("inf")},
    "a number of 400 digits": {"type": "integer", "minimum": 10**400},
    "numbers at both ends": {"type": "number", "minimum": -1e308, "maximum": 1e308},
    "multiples of almost nothing": {"type": "number", "multipleOf": 1e-300},
    "multiples of 0": {"type": "integer", "multipleOf": 0},
    "multiples of a large prime": {"type": "integer", "multipleOf": 999_999_937},
    "a minimum above the maximum": {"type": "integer", "minimum": 9, "maximum": 3},
    "10^9 characters at least": {"type": "string", "minLength": 10**9},
    "10^30 characters at most": {"type": "string", "maxLength": 10**30},
    "a length of -1": {"type": "string", "maxLength": -1},
    "a length of 1.5": {"type": "string", "maxLength": 1.5},
    "a length that is text": {"type": "string", "maxLength": "3"},
    "10^9 items at least": {"type": "array", "items": _TEXT, "minItems": 10**9},
    "10^30 items at most": {"type": "array", "items": _TEXT, "maxItems": 10**30},
    "60 lengths": _many("properties", 60, {"type": "string", "maxLength": 200})["json"],
    "60 patterns": _many("properties", 60, {"type": "string", "pattern": ".*x{9}"})["json"],
    "choices of choices": {
        "allOf": [{"anyOf": [{"minLength": at}, {"maxLength": at + 5}]} for at in range(20)]
    },
    "a bomb between words": {
        "type": "object",
        "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": "(a{1,1000}){1,1000}"},
    },
    "options that are none": {"type": "object", "x-guidance": 7},
}
_DISPUTED_GRAMMARS = {"any character": 'root ::= . "a"', "an empty choice": 'root ::= "a" | '}
_GRAMMARS = {
    "empty": "",
    "blank": " \n",
    "a comment alone": "# nothing",
    "no root": 'a ::= "a"',
    "an unknown rule": "root ::= other",
    "root is root": "root ::= root",
    "left recursion": 'root ::= root "a" | "b"',
    "a ring of rules": 'root ::= a\na ::= b\nb ::= a | "x"',
    "the empty word": 'root ::= ""',
    "a rule twice": 'root ::= "a"\nroot ::= "b"',
    "two names for one": 'root ::= a-b a_b\na-b ::= "x"\na_b ::= "y"',
    "an escape that is none": 'root ::= "\\q"',
    "half an escape": 'root ::= "\\x1',
    "half a character": 'root ::= "\ud800"',
    "a zero byte": 'root ::= "\0"',
    "an open literal": 'root ::= "a',
    "an open class": "root ::= [a",
    "30,000 escapes and no end": 'root ::= "' + '\\"' * 30_000,
    "a literal of 8,000": 'root ::= "' + "a" * 8000 + '"',
    "a literal of 900,000": 'root ::= "' + "a" * 900_000 + '"',
    "a comment of 900,000": "root ::= [a]\n# " + "a" * 900_000,
    "6,000 literals": "root ::= " + '"aaaaaaaaaaaaaaaaaa" ' * 6000,
    "20,000 classes": "root ::= " + "[^x] " * 20_000,
    "5,000 choices": "root ::= " + " | ".join(f'"{at}"' for at in range(5000)),
    "20 groups deep": "root ::= " + "(" * 20 + "[a]" + ")" * 20,
    "1,000 groups deep": "root ::= " + "(" * 1000 + "[a]" + ")" * 1000,
    "50,000 open groups": "root ::= " + "(" * 50_000,
    "50,000 closed groups": "root ::= " + ")" * 50_000,
    "stars of stars": "root ::= " + "(" * 15 + "[a]" + ")*" * 15,
    "100,000 times": "root ::= [a]{100000}",
    "a class 100,000 times": "root ::= [^\\x00-\\x1f]{1,100000}",
    "2,000 times 2,000 times 2,000": 'root ::= (("a"{2000}){2000}){2000}',
    "a literal of 4,000 2,000 times": 'root ::= ("' + "a" * 4000 + '"){2000}',
    "a count of 6,000 digits": "root ::= [a]{" + "9" * 6000 + "}",
    "a wrong count": "root ::= [a]{5,2}",
    "a count of -1": "root ::= [a]{-1}",
    "no count": "root ::= [a]{}",
    "Lark instead": "%llguidance {}\nstart: /a/",
    "Lark in a comment": "root ::= [a] #\n%import common.WORD",
    "a class that ends a pattern": "root ::= [/] [a/]",
    "a name in Greek": 'root ::= αβγ\nαβγ ::= "a"',
    "lines of Windows": 'root ::= a\r\na ::= "x"\r\n',
    "bytes that are no text": 'root ::= "\xff\xfe"',
}

#: By name, made when asked for.
FORMS: dict[str, Callable[[], Form]] = (
    {
        f"a chain of {links:,} definitions by {link}": partial(chained, link, links)
        for link in _LINKS
        for links in (90, 1000)
    }
    | {
        f"a chain of {links:,} definitions": partial(chained, "prefixItems", links)
        for links in (10, 100, 600, 4000, 10_000, 100_000)
    }
    | {
        f"a chain of {links:,} elsewhere": partial(chained, "items", links, key="x")
        for links in (50, 240, 3000)
    }
    | {
        f"{levels:,} levels of {link}": partial(nested, link, levels)
        for link, levels in (
            *(("items", levels) for levels in (30, 63, 100, 500)),
            *(("properties", levels) for levels in (20, 100, 300)),
            *(("anyOf", levels) for levels in (20, 300)),
        )
    }
    | {f"a ring of {length} definitions": partial(_ring, length) for length in (2, 50)}
    | {f"{count:,} properties": partial(_many, "properties", count) for count in (400, 20_000)}
    | {
        f"{count} patterns of names": partial(_many, "patternProperties", count)
        for count in (9, 400)
    }
    | {
        f"{key} of {count}": partial(_choice, key, count)
        for key in ("anyOf", "oneOf", "allOf")
        for count in (60, 400)
    }
    | {f"a schema: {name}": _schema(schema) for name, schema in _SCHEMAS.items()}
    | {
        f"a pattern: {name}": _schema({"type": "string", "pattern": pattern})
        for name, pattern in _PATTERNS.items()
    }
    | {
        f"a chain of {rules:,} rules": partial(rule_chain, rules)
        for rules in (90, 490, 4000, 20_000, 50_000)
    }
    | {
        f"a chain of {rules:,} rules backwards": partial(rule_chain, rules, backwards=True)
        for rules in (90, 20_000)
    }
    | {
        f"{first} doubled {rules} times": partial(_doubled, rules, first)
        for first in ("r", "R")
        for rules in (10, 60)
    }
    | {f"a grammar: {name}": _grammar(text) for name, text in _GRAMMARS.items()}
)
#: Those of them that come last, since XGrammar refuses them late.
LATE: dict[str, Callable[[], Form]] = {
    f"a disputed schema: {name}": _schema(schema) for name, schema in _DISPUTED.items()
} | {f"a disputed grammar: {name}": _grammar(text) for name, text in _DISPUTED_GRAMMARS.items()}
FORMS |= LATE
