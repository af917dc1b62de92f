"""How a body becomes the model that an endpoint takes: bounded before anything costly is done.

FastAPI would parse and check a whole body in one go and in the event loop, where other callers
wait meanwhile, and would describe every one of its errors.

    router = APIRouter(route_class=BodyRoute)
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import islice
from typing import Any, get_args, get_origin

import numpy as np
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.types import Scope

from adwright.core.errors import AdwrightError
from adwright.web.errors import ApiError, invalid_response, own_error_response
from adwright.web.gate import admitted, header

#: Objects and lists, fields of objects, and commas, of one body; a large body may not have more
#: objects and lists than its model can take.
_CONTAINERS = 10_000
_FIELDS = 30_000
_COMMAS = 60_000
#: A string of JSON; one that does not end goes up to the end. So many quotes of strings at most in
#: a body whose strings are looked through for what only looks like its parts.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_QUOTES = 4_000
#: Keys of an object in an object: as many as a program may have values, which has most.
_KEYS = 3_000
#: Entries of a list that are checked in one go; about a millisecond.
_SLICE = 32
#: A body of so few bytes takes no turn. After its turn a tenant rests so many times as long, but no
#: longer than so many seconds.
_SMALL = 1 << 14
_REST, _LONGEST_REST = 3.0, 0.2
#: Unknown fields that are looked at, and errors that pydantic is asked to describe.
_UNKNOWN = 20
#: Of a JSON Schema, so many steps inward are followed.
_DEEPEST = 20
_DESCRIBED = 100
_AS_JSON = "send it with the header Content-Type: application/json"


class BodyRoute(APIRoute):
    """A route whose body is parsed and checked here; FastAPI finds it done."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI behind the parsing."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        wanted = _Wanted(self.body_field.field_info.annotation)

        async def parse_and_handle(request: Request) -> Response:
            raw = await request.body()
            if not _is_json(request.scope):
                if raw:
                    raise ApiError(415, "the body is not JSON", hint=_AS_JSON)
                return await handle(request)
            parsed = await wanted.parse(raw, request.scope) if raw else None
            return await handle(_Parsed(request, raw, parsed))

        return parse_and_handle


class ShortWay:
    """One endpoint past the framework, whose routing and dependencies cost more than a decision
    does: the same answers and errors as those of a `BodyRoute` with this model.

    path_format: of the endpoint, for the measures. answer: to a body and its scope; ApiError,
    AdwrightError as in an endpoint.
    """

    def __init__(
        self,
        path_format: str,
        model: type[BaseModel],
        answer: Callable[[Any, Scope], Awaitable[Response]],
    ) -> None:
        self.path_format = path_format
        self._wanted, self._answer = _Wanted(model), answer

    async def __call__(self, scope: Scope, body: bytes) -> Response | None:
        """The answer; None where the framework is to say what is wrong."""
        if not body or not _is_json(scope):
            return None
        try:
            return await self._answer(await self._wanted.parse(body, scope), scope)
        except RequestValidationError as error:
            return invalid_response(error)
        except ApiError as error:
            return error.response()
        except AdwrightError as error:
            return own_error_response(error)


class _Parsed(Request):
    """A request whose body is a model already."""

    def __init__(self, request: Request, raw: bytes, parsed: BaseModel | None) -> None:
        super().__init__(request.scope, request.receive)
        self._body = raw
        self._parsed = parsed

    async def json(self) -> Any:
        return self._parsed


class _Wanted:
    """The model of a body, and its fields that are lists of models, which may be long."""

    def __init__(self, model: Any) -> None:
        self._model: type[BaseModel] = model
        schema = self._model.model_json_schema()
        self._containers = int(min(_CONTAINERS, _most_containers(schema, schema.get("$defs", {}))))
        self._lists: dict[str, tuple[type[BaseModel], TypeAdapter[Any]]] = {
            name: (get_args(kind)[0], TypeAdapter(kind))
            for name, kind in ((n, f.annotation) for n, f in self._model.model_fields.items())
            if get_origin(kind) is list and _is_model(get_args(kind)[0])
        }

    async def parse(self, raw: bytes, scope: Scope) -> BaseModel:
        """The body as a model. Raises ApiError with 400, RequestValidationError."""
        if len(raw) <= _SMALL:
            return await self._parsed(raw)
        loop = asyncio.get_running_loop()
        async with admitted(scope).turn:
            began = loop.time()
            try:
                return await self._parsed(raw)
            finally:
                # One tenant's large bodies have a quarter of the event loop, however many come.
                await asyncio.sleep(min(_REST * (loop.time() - began), _LONGEST_REST))

    async def _parsed(self, raw: bytes) -> BaseModel:
        _require_small(raw, _CONTAINERS if len(raw) <= _SMALL else self._containers)
        try:
            value = from_json(raw, allow_inf_nan=False)
        except ValueError:
            raise ApiError(400, "The body is not JSON.") from None
        value = _few_unknown(value, self._model)
        for name, (kind, adapter) in self._lists.items():
            entries = value.get(name) if isinstance(value, dict) else None
            if isinstance(entries, list) and len(entries) <= _CONTAINERS:
                if len(entries) > _SLICE:
                    value[name] = await _in_slices(name, entries, kind, adapter)
                else:
                    value[name] = [_few_unknown(entry, kind) for entry in entries]
        try:
            return self._model.model_validate(value)
        except ValidationError as error:
            raise _invalid(error) from None


def _few_unknown(value: Any, model: type[BaseModel]) -> Any:
    """The object itself, or where it has many unknown fields, with only some of these. Raises
    ApiError where one of its own objects has too many keys."""
    if not isinstance(value, dict):
        return value
    known = model.model_fields
    for name in known:
        inner = value.get(name)
        if isinstance(inner, dict) and len(inner) > _KEYS:
            what = f"{name} has {len(inner):,} keys, at most {_KEYS:,} are taken"
            raise ApiError(400, what, hint="send fewer")
    if len(value) <= len(known) + _UNKNOWN:
        return value
    unknown = islice((name for name in value if name not in known), _UNKNOWN)
    kept = {name: value[name] for name in known if name in value}
    return kept | {name: value[name] for name in unknown}


async def _in_slices(
    name: str, entries: list[Any], kind: type[BaseModel], adapter: TypeAdapter[Any]
) -> list[Any]:
    """Check entries, and let others have the event loop between slices of them."""
    checked = list[Any]()
    for at in range(0, len(entries), _SLICE):
        some = [_few_unknown(entry, kind) for entry in entries[at : at + _SLICE]]
        try:
            checked += adapter.validate_python(some)
        except ValidationError as error:
            raise _invalid(error, name, at) from None
        await asyncio.sleep(0)
    return checked


def _invalid(error: ValidationError, name: str = "", at: int = 0) -> RequestValidationError:
    """What FastAPI would raise; of very many errors, only that there are."""
    count = error.error_count()
    if count > _DESCRIBED:
        what = f"{count} fields are wrong"
        return RequestValidationError([{"type": "many", "loc": ("body",), "msg": what}])
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if not name:
        return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])
    moved = [(name, int(one["loc"][0]) + at, *one["loc"][1:]) for one in found]
    pairs = zip(found, moved, strict=True)
    return RequestValidationError([{**one, "loc": ("body", *loc)} for one, loc in pairs])


def _most_containers(schema: Any, defs: dict[str, Any], depth: int = 0) -> float:
    """Objects and lists that a value of a JSON Schema may hold, itself included."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return math.inf
    inner = partial(_most_containers, defs=defs, depth=depth + 1)
    if "$ref" in schema:
        return inner(defs.get(schema["$ref"].rpartition("/")[2]))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return max(map(inner, choices))
    match schema.get("type"):
        case "array":
            each = inner(schema.get("items"))
            return 1 + (each * schema.get("maxItems", math.inf) if each else 0)
        case "object":
            fields = sum(map(inner, schema.get("properties", {}).values()))
            more = schema.get("additionalProperties", "patternProperties" not in schema)
            others = [more] if more is not False else []
            each = max(
                map(inner, [*others, *schema.get("patternProperties", {}).values()]), default=0
            )
            return 1 + fields + (each * schema.get("maxProperties", math.inf) if each else 0)
        case "string" | "number" | "integer" | "boolean" | "null":
            return 0
        case _:
            return 0 if "const" in schema or "enum" in schema else math.inf


def _require_small(raw: bytes, containers: int) -> None:
    """Raise ApiError where the body has more parts than any that is allowed."""
    # A body of so few bytes cannot have more.
    if len(raw) <= min(containers, _FIELDS, _COMMAS) or _within(raw, containers):
        return
    # A long text, such as a prompt, may hold as many brackets as it likes.
    quotes = _count(raw, b'"') - raw.count(b'\\"')
    if not 0 < quotes <= _QUOTES or not _within(_STRING.sub(b"", raw), containers):
        raise ApiError(
            422,
            f"the body has more than {containers} lists and objects, {_FIELDS} fields,"
            f" or {_COMMAS} commas",
            hint="send it in several requests",
        )


def _within(raw: bytes, containers: int) -> bool:
    if _count(raw, b"[") + _count(raw, b"{") > containers or _count(raw, b",") > _COMMAS:
        return False
    # Times and ids have colons too. With a space before its colon a field is none here; the commas
    # bound those.
    return _count(raw, b":") <= _FIELDS or raw.count(b'":') <= _FIELDS


def _count(raw: bytes, sign: bytes) -> int:
    """How often a byte occurs; `bytes.count` takes ten times as long where it does so often."""
    return int(np.count_nonzero(np.frombuffer(raw, np.uint8) == sign[0]))


def _is_json(scope: Scope) -> bool:
    kind = header(scope, b"content-type").partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
