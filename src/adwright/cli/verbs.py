"""From a function to a command: what it takes and what its docstring says are its options.

    @verb(app, "train")
    def train(record: str, *, out: Path = Path("runs/retire"), epochs: Count | None = None) -> None:
        '''Learn from a record how long ads go on.

        Options:
            record: A folder of `adwright ads import`.
            out: Folder for the run.
            epochs: Passes over the units, at most.
        '''

What may be given by place is an argument, and what is named is an option of its own name, with
dashes. `Count`, `Natural` and other bounds are checked by the command line. A parameter whose type
is a dataclass stands for its fields, each an option; the function gets an instance. Where it has a
default, the defaults of the options are those of that instance. What a field means stands in the
docstring of the function, in that of the class, or beside the field as `Help`.
A name in parentheses is another name, or what stands for the value: `as_json (--json): Print JSON.`
and `config ([LOG|CONFIG]): A log, or a run file.` What `COMMON` says needs no line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from adwright.core.config import Ge, Gt, Help, Le, Lt
from adwright.core.errors import ConfigError

F = TypeVar("F", bound=Callable[..., None])

#: What an option of this name means in every verb that does not say otherwise.
COMMON = {
    "adapter": "Answer with this saved adapter of the model: what `adwright tune run` wrote, or "
    "the `tuned` in it; on torch.",
    "ads": "A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or one "
    "such file.",
    "document": "The app's document, which `explore` writes.",
    "dry_run": "Check everything and say what would be done; write nothing.",
    "force": "Replace what is there, without asking.",
    "host": "Address to listen on.",
    "log": "An imported log, the file that would be imported, a folder with sequences.txt, or a "
    "public log by name: complete-journey, movielens, open-bandit.",
    "log_to": "tensorboard or mlflow: log losses and measures there, too; needs the extra of that "
    "name.",
    "macros": "Folder of kept tasks; by default shop.macros for shop.txt.",
    "model": "The default model, a folder, a .gguf file, OWNER/NAME on the hub, or a model of a "
    "server, http://HOST:PORT/v1#NAME; with settings as in FOLDER+adapter=FOLDER.",
    "offline": "Never download; use what the cache holds.",
    "out": "Folder for the run.",
    "phone": "In the viewport of a phone, emulated by Chromium.",
    "policy": "The app's policy; by default shop.policy.toml for shop.txt.",
    "port": "Port; 0 takes a free one.",
    "ray_workers": "Train with so many processes of Ray; 0 for none.",
    "resume": "Resume a run that was interrupted.",
    "retries": "Restarts of Ray's workers when one of them dies.",
    "seed": "The same seed gives the same result.",
    "stop_now": "Close an interrupted run: no further step; measure and save the best so far.",
    "store": "sqlite:///PATH or postgresql://USER@HOST/DATABASE.",
    "threads": "Threads to compute with; 0 takes what fits.",
}
_LINE = re.compile(r"([\w.]+)(?: \(([^)]*)\))?: (.*)", re.DOTALL)


class _Command(TyperCommand):
    """A verb that still takes the names that its options had before."""

    renamed: Mapping[str, str] = {}
    gone: Mapping[str, str] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the names of now in the place of those of before, and say so."""
        left, now, pairs = iter(args), list[str](), dict[str, list[str]]()
        targets = {one.partition(" ")[0] for one in self.renamed.values() if " " in one}
        for word in left:
            name, sign, value = word.partition("=")
            if name in self.gone:
                hint = self.gone[name]
                raise ConfigError(f"{name} is gone", where=ctx.command_path, hint=hint)
            target, _, field = self.renamed.get(name, "").partition(" ")
            if target:
                _tell_renamed(name, self.renamed[name].rstrip(","))
            if field or name in targets:
                given = value if sign else next(left, "")
                pairs.setdefault(target or name, []).append(_as_pair(field, given))
            else:
                now.append(target + sign + value if target else word)
        for option, texts in pairs.items():
            now += [option, ",".join(texts)]
        return super().parse_args(ctx, now)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Without the arguments of before."""
        return [piece for piece in super().collect_usage_pieces(ctx) if piece != "[]"]


class DefaultGroup(TyperGroup):
    """Words that do not begin with a verb of the group are for its first one, whose options its
    help shows too."""

    @property
    def default(self) -> str:
        """The verb that may be left out."""
        return next(iter(self.commands))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where it was left out; a word that is no file and nearly a verb is a
        ConfigError that names it."""
        if not args and ctx.resilient_parsing:
            # A shell that completes: the verbs are what may follow.
            return super().parse_args(ctx, args)
        first = args[0] if args else ""
        close = get_close_matches(first, self.commands, n=1)
        if close and first not in self.commands and not Path(first).exists():
            raise ConfigError(
                f"there is no verb and no file {first!r}",
                where=f"{ctx.command_path} {first}",
                hint=f"did you mean {close[0]}? The verbs are {', '.join(self.commands)}",
            )
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the group, and below it that of the verb."""
        super().format_help(ctx, formatter)
        verb = self.commands[self.default]
        verb.format_help(type(ctx)(verb, info_name=self.default, parent=ctx), formatter)


def verb(
    app: typer.Typer,
    name: str,
    *,
    panel: str | None = None,
    text: str | None = None,
    once: str = "",
    was: Mapping[str, str] | None = None,
    gone: Mapping[str, str] | None = None,
    by_place: str = "",
) -> Callable[[F], F]:
    """A decorator that adds a function to `app` as the command `name`.

    panel: of the help in which it stands. text: its help, in place of the docstring's.
    What had another name before is taken with a note: once, the verb; was, options, as
    {"--least": "--min-gain"}, {"--id": "--columns id="} or, with several values by commas,
    {"--facts": "--columns facts=,"}; by_place, the option that was an argument. gone: options that
    are no more, and what to do instead.
    """

    def _add(function: F) -> F:
        made = _command(function, text, by_place)
        cls = type("_Verb", (_Command,), {"renamed": was or {}, "gone": gone or {}})
        app.command(name, cls=cls, help=made.__doc__, rich_help_panel=panel)(made)
        if once:

            @wraps(made)
            def _before(**given: Any) -> None:
                _tell_renamed(once, name)
                made(**given)

            app.command(once, cls=cls, help=made.__doc__, hidden=True)(_before)
        return function

    return _add


def _as_pair(field: str, value: str) -> str:
    """A value as --columns takes it: id=sku of `id=`, each of its parts of `facts=,`."""
    if not field.endswith(","):
        return field + value.replace(",", r"\,") if field else value
    return ",".join(field[:-1] + one.strip() for one in value.split(","))


def _tell_renamed(old: str, new: str) -> None:
    typer.echo(f"note: {old} is now {new}; the old form goes with the next release", err=True)


def _command(function: Callable[..., None], text: str | None, by_place: str) -> Callable[..., None]:
    """What typer makes a command of."""
    told, said = _told(function)
    hints = get_type_hints(function, include_extras=True)
    options: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    old = f"{by_place}_by_place"
    needed = set[str]()
    for one in inspect.signature(function).parameters.values():
        hint = hints[one.name]
        if is_dataclass(hint):
            within = list(_fields(hint, one.name, one.default, said))
            groups[one.name] = hint, [each.name for each in within]
            options += within
            continue
        about = said.get(one.name, ("", COMMON.get(one.name, "")))
        if one.name == by_place:
            needed |= {by_place} if one.default is one.empty else set()
            kept = Annotated[Path | None, typer.Argument(hidden=True, metavar="")]
            options.append(one.replace(name=old, annotation=kept, default=None))
            one, hint = one.replace(default=None), Path | None  # noqa: PLW2901
        options.append(_option(one, hint, about))

    @wraps(function)
    def _run(**given: Any) -> None:
        if by_place:
            before = given.pop(old)
            if before is not None and given[by_place] is None:
                _tell_renamed(f"{before} without a name", f"--{by_place} {before}")
                given[by_place] = before
            if given[by_place] is None and by_place in needed:
                where = f"--{by_place}"
                raise ConfigError("no destination is named", where=where, hint=f"add {where} PATH")
        for name, (cls, names) in groups.items():
            given[name] = cls(**{each.partition("__")[2]: given.pop(each) for each in names})
        function(**given)

    made: Any = _run
    made.__signature__ = inspect.Signature(options)
    made.__annotations__ = {one.name: one.annotation for one in options}
    made.__doc__ = told if text is None else text
    del made.__wrapped__
    return _run


def _told(owner: Any) -> tuple[str, dict[str, tuple[str, str]]]:
    """A docstring without its options, and these: by name, what is in parentheses and the text."""
    text, _, options = inspect.cleandoc(owner.__doc__ or "").partition("\n\nOptions:\n")
    said = {}
    for part in re.split(r"\n {4}(?=\w)", "\n" + options)[1:]:
        found = _LINE.fullmatch(part)
        if found is None:
            raise TypeError(f"{owner.__name__}: no option is {part!r}")
        said[found[1]] = found[2] or "", " ".join(found[3].split())
    return text, said


def _fields(
    cls: Any, group: str, usual: Any, said: Mapping[str, tuple[str, str]]
) -> Iterator[inspect.Parameter]:
    """The options that the fields of a dataclass are. group: its parameter, usual: its default."""
    said, hints = {**_told(cls)[1], **said}, get_type_hints(cls, include_extras=True)
    empty = inspect.Parameter.empty
    for one in fields(cls):
        default = getattr(usual, one.name, empty if one.default is MISSING else one.default)
        name = f"{group}__{one.name}"
        parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        help_of = (each.text for each in get_args(hints[one.name])[1:] if isinstance(each, Help))
        about = "", next(help_of, COMMON.get(one.name, ""))
        about = said.get(one.name, about)
        yield _option(parameter, hints[one.name], said.get(f"{group}.{one.name}", about))


def _option(one: inspect.Parameter, hint: Any, said: tuple[str, str]) -> inspect.Parameter:
    plain, bounds = _peeled(hint)
    written, text = said
    names = re.findall(r"-[\w-]+(?:/--[\w-]+)?", written)
    more: dict[str, Any] = {"help": text, **bounds}
    if written and not names:
        more["metavar"] = written
    if one.kind is one.KEYWORD_ONLY:
        own = "--" + one.name.rpartition("__")[2].replace("_", "-")
        is_bool = plain is bool or (bool in get_args(plain))
        either = is_bool and one.default is not False
        info: Any = typer.Option(*(names or [f"{own}/--no-{own[2:]}" if either else own]), **more)
    else:
        info = typer.Argument(**more)
    return one.replace(annotation=Annotated[plain, info], kind=one.KEYWORD_ONLY)


def _peeled(hint: Any) -> tuple[Any, dict[str, Any]]:
    """A type without what is beside it, and its bounds as typer names them."""
    bounds: dict[str, Any] = {}
    if get_origin(hint) is Annotated:
        for one in hint.__metadata__:
            match one:
                case Ge(ge=low) | Gt(gt=low):
                    bounds["min"] = low
                case Le(le=high) | Lt(lt=high):
                    bounds["max"] = high
        inner, more = _peeled(get_args(hint)[0])
        return inner, bounds | more
    if type(None) in get_args(hint):
        (part,) = (each for each in get_args(hint) if each is not type(None))
        inner, bounds = _peeled(part)
        return inner | None, bounds
    return hint, bounds
