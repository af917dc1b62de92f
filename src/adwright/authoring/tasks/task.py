"""The tasks of LLaMA-E and product descriptions, as typed input and output.

    request = Request(task_named("titles"), product, values=(("query", "decaf tea"),))

Three parties take part in commerce: the customer, the seller and the platform (Shi et al.,
"LLaMA-E", arXiv 2308.04913). A task presents features of some of them and asks for one feature of
one of them. The tasks are chosen so that every party's features are read in one of them and written
in another, which `is_interleaved` checks. Which party a feature belongs to is read from the paper's
abstract, and is our choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from adwright.authoring.tasks.product import Product
from adwright.core.config import settings
from adwright.core.errors import ConfigError, ValueInvalidError

Party = Literal["customer", "seller", "platform"]
#: text: a few words or sentences. label: one of a closed list. pairs: `name: value` lines.
Form = Literal["text", "label", "pairs"]

#: The slot that a request's product fills; all others are filled by its values.
PRODUCT_SLOT = "product"


@settings
class TaskSlot:
    """A thing that a task presents, or asks for. party: whose feature it is. required: a request
    without it is refused."""

    name: str
    party: Party
    required: bool = True


@settings
class AuthoringTask:
    """What a model is shown and what it has to write.

    name: as commands and files call it. title: for people. presented: what a request gives.
    wanted: what is written. form: of the answer. checks: names of checks that apply to it.
    measures: names of measures by which answers are judged, as in `metrics.text`.
    """

    name: str
    title: str
    presented: tuple[TaskSlot, ...]
    wanted: TaskSlot
    form: Form
    checks: tuple[str, ...]
    measures: tuple[str, ...]

    @property
    def pairs(self) -> tuple[tuple[Party, Party], ...]:
        """Pairs of a party that is read and the party that is written, each once."""
        return tuple(dict.fromkeys((slot.party, self.wanted.party) for slot in self.presented))


_PRODUCT = TaskSlot(PRODUCT_SLOT, "seller")
_MAY_HAVE_PRODUCT = TaskSlot(PRODUCT_SLOT, "seller", required=False)
_WRITTEN = ("grounding", "policy", "language", "markup", "repetition")
_MEASURED = ("rouge_l", "chrf", "bertscore", "distinct", "grounded", "policy")

#: LLaMA-E's five tasks, then product descriptions.
TASKS: tuple[AuthoringTask, ...] = (
    AuthoringTask(
        "ads",
        "Ad for a product",
        (
            _PRODUCT,
            TaskSlot("occasion", "platform", required=False),
            TaskSlot("audience", "customer", required=False),
        ),
        TaskSlot("ad", "platform"),
        "text",
        (*_WRITTEN, "limits", "voice"),
        (*_MEASURED, "limits"),
    ),
    AuthoringTask(
        "titles",
        "Title rewritten for a search query",
        (_PRODUCT, TaskSlot("query", "customer")),
        TaskSlot("title", "seller"),
        "text",
        (*_WRITTEN, "limits"),
        (*_MEASURED, "query_coverage", "limits"),
    ),
    AuthoringTask(
        "classify",
        "Category of a product",
        (_PRODUCT,),
        TaskSlot("category", "platform"),
        "label",
        ("label",),
        ("accuracy", "macro_f1", "invalid"),
    ),
    AuthoringTask(
        "intent",
        "What a customer buys it for",
        (_PRODUCT, TaskSlot("behaviour", "customer")),
        TaskSlot("intent", "customer"),
        "label",
        ("label",),
        ("accuracy", "macro_f1", "invalid"),
    ),
    AuthoringTask(
        "answers",
        "Answer to a customer's question",
        (TaskSlot("question", "customer"), _MAY_HAVE_PRODUCT),
        TaskSlot("answer", "platform"),
        "text",
        _WRITTEN,
        _MEASURED,
    ),
    AuthoringTask(
        "descriptions",
        "Description of a product",
        (_PRODUCT, TaskSlot("keywords", "customer", required=False)),
        TaskSlot("description", "seller"),
        "text",
        (*_WRITTEN, "limits", "voice"),
        (*_MEASURED, "limits"),
    ),
)
#: No task of the paper's: the attributes that descriptions are written from, out of a title.
PAIRS_TASK = AuthoringTask(
    "attributes",
    "Attributes of a product, out of its title",
    (_PRODUCT, TaskSlot("wanted", "platform", required=False)),
    TaskSlot("attributes", "seller"),
    "pairs",
    ("grounding",),
    ("pair_f1", "rouge_l", "grounded", "invalid"),
)
ALL_TASKS: tuple[AuthoringTask, ...] = (*TASKS, PAIRS_TASK)


def task_named(name: str) -> AuthoringTask:
    """The task of that name. Raises ConfigError with the names that there are."""
    found = {task.name: task for task in ALL_TASKS}
    if name in found:
        return found[name]
    close = get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(
        f"there is no task {name!r}", where="task", hint=f"{hint}there are {', '.join(found)}"
    )


def is_interleaved(tasks: Iterable[AuthoringTask]) -> bool:
    """Whether every party's features are read in one of the tasks and written in one."""
    every = {"customer", "seller", "platform"}
    pairs = {pair for task in tasks for pair in task.pairs}
    return {read for read, _ in pairs} == every and {written for _, written in pairs} == every


@dataclass(frozen=True)
class AuthoringRequest:
    """One thing to be written.

    task: which. product: of which product. values: pairs of a slot that the task presents and the
    text in it, such as ("query", "decaf tea"). labels: the closed list, for a task whose answer is
    a label, in the order in which they are shown.

    Raises ValueInvalidError for a value in a slot that the task has not, a slot that is required
    and not filled or filled twice, and a list of labels that is missing, not wanted, or has an
    empty or a repeated one.
    """

    task: AuthoringTask
    product: Product
    values: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {slot.name for slot in self.task.presented} - {PRODUCT_SLOT}
        names = [name for name, _ in self.values]
        wrong = next((name for name in names if name not in known), None)
        if wrong is not None:
            has = ", ".join(sorted(known)) or "no values"
            raise self._error("the task does not take this value", wrong, f"it takes {has}")
        if len(set(names)) < len(names):
            raise self._error("a value is given twice", names, "give each one once")
        given = {name for name, value in self.values if value.strip()}
        if self.product.title.strip():
            given.add(PRODUCT_SLOT)
        for slot in self.task.presented:
            if slot.required and slot.name not in given:
                what = "a title of the product" if slot.name == PRODUCT_SLOT else slot.name
                raise self._error(f"the task needs {what}", "", "fill it, or leave the row out")
        self._check_labels()

    def _check_labels(self) -> None:
        if (self.task.form == "label") != bool(self.labels):
            need = "needs a closed list of labels" if not self.labels else "takes no labels"
            raise self._error(f"the task {need}", self.labels, "give them where form is label")
        tidy = [label.strip() for label in self.labels]
        if not all(tidy) or len(set(tidy)) < len(tidy):
            raise self._error("a label is empty or repeated", self.labels, "give each one once")

    def _error(self, what: str, value: object, hint: str) -> ValueInvalidError:
        column = f"task {self.task.name}"
        return ValueInvalidError(what, column=column, value=value, hint=hint)


#: The short names of this room; delivery and data have a Request, a Task and a Slot of their own.
Task = AuthoringTask
Slot = TaskSlot
Request = AuthoringRequest
