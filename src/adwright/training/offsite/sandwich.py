"""The pieces of offsite-tuning: the ends of a model, a thinned middle, and what goes back.

Xiao, Lin & Han, "Offsite-Tuning: Transfer Learning without Full Model", 2023, arXiv 2302.04870.
Of N decoder layers the first n and the last n are the adapter, trained by the texts' owner; of
the M = N - 2 n between them K are kept, evenly, and frozen (the emulator):

    kept layer j of K:  n + round(j (M - 1) / (K - 1)),  j = 0 ... K - 1

The texts' owner trains  first n -> K kept -> last n,  the model's owner puts the trained ends
around the M layers of the whole model. `distil` trains the K layers before they are sent, so that
each does the work of those that were left out behind it: with s_j what kept layer j of the
emulator puts out, and t_i what layer i of the whole model does,

    L = mean over j of mean((s_j - t_e(j))^2)
    e(j) = the layer before kept layer j + 1; for the last one N - n - 1

Ours: the paper's loss has the last of these terms alone, and its language modelling loss too.
Beside training the ends whole, as the paper does, LoRA can be trained in them.

What is hidden: the M - K layers that were left out, and after `distil` the weights of the K, too.
Embedding, head, ends and kept layers are given away. The texts' owner gives away the weights of
its adapter, from which something of the texts may be guessed.

Offsite-tuning between two processes: the model's owner and the texts' owner.

    texts' owner                       model's owner
      hello                     ->
                                <-     emulator   ends, kept middle, embedding, head, tokeniser
      trains the ends
      adapter                   ->                weights of the ends, and of nothing else
                                <-     plugged

See `sandwich` for the method and its paper. `run_owner` and `run_trainer` are the two sides.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.config import Count, Natural, Positive, settings, to_jsonable
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    MissingExtraError,
    ResourceError,
    ResumeError,
)
from adwright.lm.engine.weights import SMOLLM2, load_hf_tokenizer
from adwright.lm.torch_engine.model import quick_dtype
from adwright.training.loop.run_folder import RunFolder
from adwright.training.offsite.wire import (
    Channel,
    Listener,
    Reception,
    WireMessage,
    connect,
    printable,
    read_address,
)
from adwright.training.tuning.run import load_base
from adwright.training.tuning.texts import PairsConfig, Texts, held_apart
from adwright.training.tuning.tune import TuneConfig, TuneResult, tune
from adwright.tuning.modules import LINEAR, Sizes, decoder_layers, places, zeros
from adwright.tuning.packing.texts import attends_apart
from adwright.tuning.reparameterised.lora import LoRALinear
from adwright.tuning.tuned import Tuned, TuningMethod, fill

_LAYER = re.compile(r"model\.model\.layers\.(\d+)\.(.+)")
_CAME = "the adapter that came back"
#: Bytes for what safetensors says of a tensor: its name, type, shape and place.
_NAMED = 1024
#: Few digits, and of ASCII: the name comes from a peer, and int() refuses thousands of them.
_SHIPPED = re.compile(r"(first|last)\.([0-9]{1,4})\.(.+)")


@settings
class Sandwich(TuningMethod):
    """The first and the last `ends` decoder layers. rank: 0 to train them whole, which needs them
    in float32, or r of a LoRA in each of their maps; alpha: r times LoRA's scale.
    """

    mergeable: ClassVar[bool] = True
    ends: Count = 2
    rank: Natural = 0
    alpha: Positive = 16.0

    def count(self, sizes: Sizes) -> int:
        """2 n times what a layer has, without the norms where it is LoRA."""
        shapes = sizes.shapes.values()
        if self.rank:
            return 2 * self.ends * self.rank * sum(rows + columns for rows, columns in shapes)
        biases = sum(sizes.shapes[target][0] for target in sizes.linear_bias)
        whole = sum(rows * columns for rows, columns in shapes)
        return 2 * self.ends * (whole + biases + 2 * sizes.width)

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze the ends, or put a `LoRALinear` in the place of each of their maps.

        Raises ConfigError where there is no middle, or no such rank.
        """
        _require_rank(tuned.sizes, self.rank)
        layers = tuned.layers()
        numbers = _ends(len(layers), self.ends)
        if not self.rank:
            for number in numbers:
                layers[number].requires_grad_(True)
            return
        for place in tuned.places(LINEAR):
            if place.layer in numbers:
                a = tuned.uniform(self.rank, place.linear.in_features)
                b = zeros(place.linear.out_features, self.rank)
                place.put(LoRALinear(place.linear, a, b, self.alpha / self.rank))


def kept_layers(layers: int, ends: int, kept: int) -> tuple[int, ...]:
    """Numbers, in the whole model, of the middle layers that the emulator keeps.

    Raises ConfigError unless there are 1 <= kept <= layers - 2 ends of them.
    """
    middle = layers - 2 * ends
    if ends < 1 or not 1 <= kept <= middle:
        raise ConfigError(
            f"{layers} layers have no such ends and 1 to {max(middle, 0)} layers to keep",
            where=f"ends = {ends}, kept = {kept}",
            hint="lower them",
        )
    if kept == 1:
        return (ends + (middle - 1) // 2,)
    return tuple(ends + round(j * (middle - 1) / (kept - 1)) for j in range(kept))


def emulator_of(model: Any, ends: int, kept: int) -> Any:
    """A model of 2 ends + kept layers, with copies of the weights of `model`, a causal LM of
    transformers. Raises ConfigError as `kept_layers`, or where it is of another type."""
    layers = len(decoder_layers(model))
    order = (
        *range(ends),
        *kept_layers(layers, ends, kept),
        *range(layers - ends, layers),
    )
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(order)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[number] for number in order]
    small = type(model)(config).to(model.dtype)
    place = {number: at for at, number in enumerate(order)}
    weights = {}
    for name, value in model.state_dict().items():
        found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
        if found is None:
            weights[name] = value
        elif int(found[1]) in place:
            weights[f"model.layers.{place[int(found[1])]}.{found[2]}"] = value
    small.load_state_dict(weights)
    return small.eval()


def distil(
    emulator: Any,
    model: Any,
    texts: Texts,
    *,
    ends: int,
    steps: int = 100,
    batch: int = 8,
    rate: float = 1e-4,
    seed: int = 0,
) -> tuple[float, float]:
    """Train the kept layers of `emulator` to do the work of those that were left out, see above.

    texts: of the model's owner; what they answer does not matter. model: the whole one, which is
    not changed. rate: of AdamW. Returns L of the first and of the last step.
    """
    layers, kept = len(decoder_layers(model)), len(decoder_layers(emulator)) - 2 * ends
    wanted = [*kept_layers(layers, ends, kept)[1:], layers - ends]
    # Small steps would be lost in bfloat16.
    dtype = emulator.dtype
    student = emulator.float().train().requires_grad_(False)
    taught = nn.ModuleList(list(decoder_layers(student))[ends : ends + kept])
    optimiser = torch.optim.AdamW(taught.requires_grad_(True).parameters(), lr=rate)
    rng, losses = np.random.default_rng(seed), list[float]()
    for _ in range(steps):
        rows = rng.integers(len(texts), size=batch)
        with torch.no_grad():
            given = _states(model, texts, rows)
        made = _states(student, texts, rows)
        # State i + 1 is what layer i puts out; `wanted` is one layer further on.
        pairs = [(made[ends + j + 1], given[number]) for j, number in enumerate(wanted)]
        loss = torch.stack([functional.mse_loss(s, t.float()) for s, t in pairs]).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    emulator.to(dtype).requires_grad_(False).eval()
    return losses[0], losses[-1]


def _states(model: Any, texts: Texts, rows: Any) -> tuple[Tensor, ...]:
    packed = texts.packed(rows)
    with attends_apart(model):
        found = model.model(
            input_ids=packed.ids[None],
            position_ids=packed.places()[None],
            output_hidden_states=True,
            use_cache=False,
        )
    return tuple(found.hidden_states)


def adapter_of(tuned: Tuned) -> dict[str, Tensor]:
    """The trained weights that go back, by "first.NUMBER.NAME" and "last.NUMBER.NAME"."""
    ends, layers = _method(tuned).ends, tuned.sizes.layers
    found = {}
    for name, value in tuned.state().items():
        if (match := _LAYER.fullmatch(name)) is not None:
            number = int(match[1])
            side = f"first.{number}" if number < ends else f"last.{number - (layers - ends)}"
            found[f"{side}.{match[2]}"] = value.detach()
    return found


def adapter_bytes(model: Any, method: Sandwich) -> int:
    """Bytes of the message with an adapter of `method` for `model`, at most: float32 and names.

    Raises ConfigError where the model has no such ends or rank.
    """
    wanted = _wanted(model, method)
    return sum(4 * value.numel() + _NAMED for value in wanted.values()) + _NAMED


def plug_in(model: Any, method: Sandwich, adapter: Mapping[str, Tensor]) -> Tuned:
    """The whole model with a trained adapter in its ends; `merge` makes a plain model of it.

    Raises DataError for a weight that is not finite or a name that is none of an adapter's,
    ArtifactError where names or shapes are not those of `method` on this model, ConfigError where
    the model has no such ends or rank. The model is unchanged then, and nothing is allocated for
    a rank that did not come.
    """
    layers, tensors = len(decoder_layers(model)), dict[str, Tensor]()
    wanted = _wanted(model, method)
    for name, value in adapter.items():
        match = _SHIPPED.fullmatch(name)
        if match is None or int(match[2]) >= method.ends:
            raise DataError("the adapter has a tensor that is not of the ends", column=name)
        number = int(match[2]) + (0 if match[1] == "first" else layers - method.ends)
        tensors[f"model.model.layers.{number}.{match[3]}"] = value
    # Into tensors without memory: names, shapes and kinds are compared, and that is all.
    fill(wanted, tensors, _CAME)
    for name, like in wanted.items():
        # What is finite as it came may not be so in the model's type, or times the scale.
        value = tensors[name].to(like.dtype)
        if method.rank and name.endswith(".b"):
            scale = method.alpha / method.rank
            value = (scale * value) @ tensors[f"{name.removesuffix('b')}a"].to(like.dtype)
        if not bool(torch.isfinite(value).all()):
            raise DataError("the adapter holds NaN or infinity", column=name)
    tuned = Tuned(model, method)
    tuned.load_state(tensors, _CAME)
    return tuned.eval()


def _wanted(model: Any, method: Sandwich) -> dict[str, Tensor]:
    """The trained weights of `method` on `model` by their names in `Tuned`, without memory."""
    layers, found = decoder_layers(model), dict[str, Tensor]()
    numbers = _ends(len(layers), method.ends)
    if not method.rank:
        for number in numbers:
            for name, value in layers[number].named_parameters():
                found[f"model.model.layers.{number}.{name}"] = value.detach().to("meta")
        return found
    _require_rank(Sizes.of(model), method.rank)
    for place in places(model, LINEAR):
        if place.layer in numbers:
            rows, columns = place.linear.out_features, place.linear.in_features
            found[f"model.{place.name}.a"] = torch.empty(method.rank, columns, device="meta")
            found[f"model.{place.name}.b"] = torch.empty(rows, method.rank, device="meta")
    return found


def _require_rank(sizes: Sizes, rank: int) -> None:
    smallest = min(min(shape) for shape in sizes.shapes.values())
    if rank > smallest:
        raise ConfigError(
            f"maps of this model have a rank of at most {smallest}",
            where=f"Sandwich.rank = {rank}",
            hint="lower it",
        )


def _method(tuned: Tuned) -> Sandwich:
    if not isinstance(tuned.method, Sandwich):
        raise ConfigError(
            "only the ends of a model go back", where=type(tuned.method).__name__, hint="Sandwich()"
        )
    return tuned.method


def _ends(layers: int, ends: int) -> set[int]:
    if 2 * ends >= layers:
        raise ConfigError(
            f"{layers} layers have no middle between ends of {ends}",
            where=f"Sandwich.ends = {ends}",
            hint="lower it",
        )
    return {*range(ends), *range(layers - ends, layers)}


#: Types of model that are built from what a stranger sends: plain code of transformers.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
#: Seconds that the model's owner waits for the adapter: a day.
WAIT = 86_400.0
#: Seconds that it may take itself: to answer others first, and for what a slow tunnel still holds.
_ANSWER = 600.0
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
#: What is taken of a stranger's config: sizes and formulas, no name of code or place.
_SETTINGS = frozenset(
    {
        *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act"),
        *("max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling"),
        *("rope_parameters", "attention_bias", "mlp_bias", "tie_word_embeddings"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "layer_types", "sliding_window"),
        *("use_sliding_window", "max_window_layers"),
    }
)
_FILE = "file:"
_WEIGHT = "weight:"


def offered(
    model: Any, channel: Channel, emulator: WireMessage, ends: int, wait: float
) -> WireMessage:
    """Give away the emulator and wait for the adapter, of which no more bytes are read than one of
    its rank has in `model`. Raises as `Channel.receive`, and ConfigError for a rank that cannot be.
    """
    channel.send(emulator)

    def bytes_of(head: WireMessage) -> int:
        return adapter_bytes(model, _adapter_method(head, ends))

    return channel.receive("adapter", timeout=wait, limit=bytes_of)


def plugged(model: Any, channel: Channel, came: WireMessage, ends: int) -> Tuned:
    """Put the adapter that came into `model`, and say so. Raises as `plug_in`."""
    tuned = plug_in(model, _adapter_method(came, ends), came.tensors)
    # What came is of use whether or not the peer still listens.
    with suppress(ResourceError):
        channel.send(WireMessage("plugged"))
    return tuned


def train_offsite(
    channel: Channel,
    texts_of: Callable[[Any], tuple[Texts, Texts | None]],
    config: TuneConfig,
    *,
    rank: int = 8,
    run: str | Path | None = None,
    resume: bool = False,
) -> tuple[Tuned, TuneResult]:
    """The side of the texts' owner: train the ends beside the emulator and send their weights.

    texts_of: gives the texts to train on and to validate with, made by the tokeniser that came
    (None where none did). rank: of a LoRA in the ends; 0 trains them whole. run, resume:
    as for `tune`. Returns the emulator with the trained ends, and what `tune` returns. The
    texts stay here. Raises what `tune`, `received_emulator` and `Channel.receive` do.
    """
    with channel:
        channel.greet()
        came = channel.receive("emulator", timeout=_ANSWER)
        method = Sandwich(ends=came.number("ends"), rank=rank)
        emulator, tokenizer = received_emulator(came)
        texts, valid = texts_of(tokenizer)
        # Weights that move by small steps have to be in float32.
        whole = rank == 0 or quick_dtype() == torch.float32
        tuned = Tuned(emulator.float() if whole else emulator, method, seed=config.seed)
        result = tune(tuned, texts, config, run, valid=valid, resume=resume)
        fields = {"ends": method.ends, "rank": rank, "alpha": method.alpha}
        channel.send(WireMessage("adapter", fields, adapter_of(tuned)))
        channel.receive("plugged", timeout=_ANSWER)
        return tuned, result


def shipped_emulator(emulator: Any, ends: int, tokenizer: str | Path | None = None) -> WireMessage:
    """What the model's owner gives away."""
    tensors, seen = dict[str, Tensor](), set[int]()
    for name, value in emulator.state_dict().items():
        # A tied head is the embedding, which is sent once.
        if value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            tensors[_WEIGHT + name] = value
    for name in _FILES if tokenizer is not None else ():
        path = Path(str(tokenizer)) / name
        if path.is_file():
            tensors[_FILE + name] = torch.tensor(list(path.read_bytes()), dtype=torch.uint8)
    whole = json.loads(emulator.config.to_json_string(use_diff=False))
    # Where the model lies on the owner's disk, among others, is nobody's business.
    config = {name: value for name, value in whole.items() if name in _SETTINGS}
    return WireMessage("emulator", {"ends": ends, "config": config}, tensors)


def received_emulator(message: WireMessage) -> tuple[Any, Any]:
    """The thinned model and its tokeniser, or None where none came.

    Raises DataError where the message describes no model of `FAMILIES`, or other weights than
    came; MissingExtraError without transformers. Nothing that came is run.
    """
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("tuning of language models", "lm") from error
    values = message.fields.get("config")
    if not isinstance(values, dict) or values.get("model_type") not in FAMILIES:
        raise DataError(
            "the emulator is of no known type",
            column="model_type",
            value=values.get("model_type") if isinstance(values, dict) else values,
            hint=f"one of {', '.join(FAMILIES)}",
        )
    weights = _named(message.tensors, _WEIGHT)
    layers = {name.split(".")[2] for name in weights if name.startswith("model.layers.")}
    if len(layers) != values.get("num_hidden_layers"):
        raise DataError("the emulator's layers are not those of its config", column="config")
    rest = {name: value for name, value in values.items() if name in _SETTINGS}
    build: Any = AutoModelForCausalLM.from_config
    try:
        config = AutoConfig.for_model(**rest)
        # Before memory is taken for what the config claims.
        with torch.device("meta"):
            claimed = {name: value.shape for name, value in build(config).state_dict().items()}
    except Exception as error:
        # Any value may have come, and each version of transformers has its own errors for it.
        said = printable(str(error))
        raise DataError(f"the emulator cannot be built: {said}", column="config") from error
    if config.tie_word_embeddings:
        claimed.pop("lm_head.weight", None)
    for name in sorted(claimed.keys() | weights.keys()):
        if name not in weights or claimed.get(name) != weights[name].shape:
            raise DataError("the emulator's weights are not those of its config", column=name)
    model = build(config).to(next(iter(weights.values())).dtype)
    model.load_state_dict(weights, strict=False)
    decoder_layers(model)
    return model.eval(), _tokenizer(_named(message.tensors, _FILE))


def _tokenizer(files: Mapping[str, Tensor]) -> Any:
    if "tokenizer.json" not in files:
        return None
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            if name not in _FILES:
                raise DataError("the tokeniser has a file of no known name", column=name)
            (Path(folder) / name).write_bytes(content.to(torch.uint8).numpy().tobytes())
        return load_hf_tokenizer(folder)


def _named(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def _adapter_method(message: WireMessage, ends: int) -> Sandwich:
    """How the adapter was trained, as its owner says; `plug_in` sees whether that can be."""
    if message.number("ends") != ends:
        raise DataError("the adapter is of other ends", column="ends", value=message.fields)
    return Sandwich(ends=ends, rank=message.number("rank"), alpha=message.real("alpha"))


# --------------------------------------------------------------------------------------------------
# Both sides of offsite-tuning from files: what `adwright tune offsite owner` and `train` do.
#
# own      a model            ->  OUT, the model with the trained ends, as transformers keeps it
# train    a file of pairs    ->  OUT/run, the resumable training, and OUT/report.json
#
# Choose the modules that are trained: those that change; the others are killed for a while.
#
# Gao & Zhang, "DLoRA: Distributed Parameter-Efficient Fine-Tuning Solution for Large Language
# Model", 2024, arXiv 2404.05182 (another work than the serving system dLoRA of the same year). The
# cloud holds the frozen base, the device the texts and the modules; each active module costs the
# device computation and traffic in every step. Modules whose weights hardly change over recent
# steps
# are killed, and revived later.
#
# Formulas of our own: with theta_m the n_m weights of module m, every w steps
#
#     c_m = ||theta_m(t) - theta_m(t - w)|| / sqrt(n_m)     for active modules
#     K   = ceil(alive M)                                   active afterwards, of M
#     R   = min(ceil(revived M), K - 1, number killed)      of them revived: those killed longest
#     the K - R active modules with the largest c_m stay
#
# In the first w steps all are active. So a module is killed for at most ceil(M / R) windows, and
# the
# device decides by its own weights. A killed module is not removed: its weights go to the cloud
# once,
# which computes it, frozen; the device resumes it with the same weights.


@dataclass(frozen=True)
class KillRevive:
    """The rule. window: w steps, 0 for modules that are always active. alive, revived: shares of
    all modules."""

    window: int = 8
    alive: float = 0.25
    revived: float = 0.05

    def __post_init__(self) -> None:
        if self.window < 0 or not 0 < self.alive <= 1 or not 0 <= self.revived <= 1:
            raise ConfigError(
                "window is not negative, alive a share above 0, revived a share",
                where=f"window {self.window}, alive {self.alive}, revived {self.revived}",
            )


class Lives:
    """Which of M modules, numbered from 0, are active."""

    def __init__(self, rule: KillRevive, modules: int) -> None:
        self.rule, self.modules = rule, modules
        self.alive = list(range(modules))
        #: The killed ones, and by which decision.
        self.killed: dict[int, int] = {}
        self._decisions = 0

    def is_due(self, step: int) -> bool:
        """Whether to decide after step `step` (from 0)."""
        return self.rule.window > 0 and (step + 1) % self.rule.window == 0

    def decide(self, change: Mapping[int, float]) -> tuple[list[int], list[int]]:
        """Decide by the change c_m of each active module; (killed, revived) now, each ascending."""
        self._decisions += 1
        room = max(1, math.ceil(self.rule.alive * self.modules))
        turns = min(math.ceil(self.rule.revived * self.modules), room - 1, len(self.killed))
        longest = sorted(self.killed, key=lambda number: (self.killed[number], number))
        revived = sorted(longest[:turns])
        by_change = sorted(self.alive, key=lambda number: (-change[number], number))
        stay, go = by_change[: room - turns], sorted(by_change[room - turns :])
        for number in revived:
            del self.killed[number]
        self.killed |= dict.fromkeys(go, self._decisions)
        self.alive = sorted([*stay, *revived])
        return go, revived


_logger = logging.getLogger("adwright")
#: Seconds after which the owner looks whether its time is over.
_LOOK = 0.2


@dataclass(frozen=True)
class OwnerRun:
    """What the owner of a model asks for. model: as `adwright lm generate --model` takes it. ends,
    kept: layers, see `sandwich`. distil: a file of pairs of one's own to train the kept layers
    on, None for layers as they are; distil_steps: of that. host, port: where to listen, 0 for a
    free port. wait: seconds for a peer to bring an adapter, and for its training."""

    model: str = SMOLLM2
    out: Path = Path("runs/plugged")
    ends: int = 2
    kept: int = 8
    distil: Path | None = None
    distil_steps: int = 200
    host: str = "127.0.0.1"
    port: int = 0
    wait: float = WAIT


@dataclass(frozen=True)
class TrainerRun:
    """What the texts' owner asks for. address: HOST:PORT/TOKEN, see `read_address`. rank: of LoRA
    in the ends, 0 to train them whole."""

    data: PairsConfig
    address: str
    rank: int = 8
    tune: TuneConfig = field(default_factory=TuneConfig)
    out: Path = Path("runs/offsite")


@dataclass(frozen=True)
class OffsiteReport:
    """What the training of the ends cost. trainable: parameters. valid_nll: nats per token of the
    held-out answers, of the emulator with the trained ends; None without. sent, received: bytes."""

    trainable: int
    steps: int
    tokens: int
    cpu_seconds: float
    texts: int
    held: int
    valid_nll: float | None
    sent: int
    received: int


def run_owner(
    asked: OwnerRun, *, overwrite: bool = False, on_listening: Callable[[str], None]
) -> None:
    """Give the thinned model to a peer, and write the whole one with the ends that come back.

    Several peers may train at once, the first adapter that fits is taken; where a peer fails, its
    reason is logged. New ones are taken until `asked.wait` is over. on_listening: called once with
    HOST:PORT/TOKEN. overwrite: replace `asked.out`. Raises ConfigError where layers or port do not
    allow it, ResourceError where nobody comes, and as `held_apart` and `load_base`; what the last
    peer failed of where none brought an adapter.
    """
    model, tokenizer, _ = load_base(asked.model)
    model.eval()
    small = emulator_of(model, asked.ends, asked.kept)
    if asked.distil is not None:
        texts, _ = held_apart(PairsConfig(path=asked.distil, valid=0.0), tokenizer, 0)
        distil(small, model, texts, ends=asked.ends, steps=asked.distil_steps)
    with atomic_folder(asked.out, overwrite=overwrite) as folder:
        # First, so that a folder that cannot be written is known before the wait.
        tokenizer.save_pretrained(folder)
        with Listener(asked.host, asked.port) as listener:
            on_listening(str(listener.address))
            plain: Any = _served(asked, listener, model, small, folder).merge()
        plain.save_pretrained(folder)


def _served(asked: OwnerRun, listener: Listener, model: Any, small: Any, tokenizer: Path) -> Tuned:
    """Serve all that know the token, each in a thread, until an adapter has come that fits."""
    until, adapters = time.monotonic() + asked.wait, Queue[tuple[Channel, WireMessage, Event]]()
    emulator, over = shipped_emulator(small, asked.ends, tokenizer), Event()

    def serve(channel: Channel) -> None:
        done = Event()
        with channel:
            came = offered(model, channel, emulator, asked.ends, asked.wait)
            adapters.put((channel, came, done))
            while not (done.wait(_LOOK) or over.is_set()):
                pass

    with Reception(listener, serve) as reception, ExitStack() as stack:
        stack.callback(over.set)
        while reception.served or time.monotonic() < until:
            try:
                channel, came, done = adapters.get(timeout=_LOOK)
            except Empty:
                continue
            try:
                return plugged(model, channel, came, asked.ends)
            except Exception as error:
                # Whatever a peer sent must not cost an hour of distillation.
                reception.last = error
                _logger.warning("no adapter yet, still listening: %s", printable(str(error)))
                channel.refuse(type(error).__name__)
            finally:
                done.set()
    if isinstance(reception.last, AdwrightError):
        raise reception.last
    raise ResourceError(
        "nobody brought an adapter",
        where=f"{listener.host}:{listener.port}, {asked.wait:g} s",
        hint="start the other side with the token, or wait longer",
    ) from reception.last


def run_trainer(asked: TrainerRun, *, resume: bool = False) -> OffsiteReport:
    """Train the ends of the model that is offered at `asked.address`, send them, and report.

    resume: continue the training in `asked.out`; the model's owner must offer the same model.
    Raises ConfigError for an address that is none, and as `train_offsite` and `held_apart`. What
    can be checked here is checked before the model is asked for.
    """
    address = read_address(asked.address)
    _require_startable(asked, resume=resume)
    counts: dict[str, int] = {}

    def texts_of(tokenizer: Any) -> tuple[Texts, Texts | None]:
        if tokenizer is None:
            raise DataError("the model came without a tokeniser", file=asked.address)
        train, valid = held_apart(asked.data, tokenizer, asked.tune.seed)
        counts.update(texts=len(train), held=len(valid))
        return train, valid if len(valid) else None

    channel = connect(address)
    in_bfloat16 = asked.tune.bfloat16 or quick_dtype() == torch.bfloat16
    tuned, result = train_offsite(
        channel,
        texts_of,
        replace(asked.tune, bfloat16=in_bfloat16),
        rank=asked.rank,
        run=asked.out / "run",
        resume=resume,
    )
    report = OffsiteReport(
        trainable=tuned.count(),
        steps=result.steps,
        tokens=result.tokens,
        cpu_seconds=round(result.seconds, 2),
        texts=counts["texts"],
        held=counts["held"],
        valid_nll=result.best if counts["held"] else None,
        sent=sum(channel.sent.values()),
        received=sum(channel.received.values()),
    )
    text = json.dumps(to_jsonable(report), indent=1) + "\n"
    atomic_write_text(asked.out / "report.json", text)
    return report


def _require_startable(asked: TrainerRun, *, resume: bool) -> None:
    """Raise as `PairsConfig.rows` and `RunFolder`; ResourceError where the disk refuses."""
    asked.data.rows()
    run = asked.out.absolute() / "run"
    there = next(each for each in (run, *run.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ResourceError(
            "no folder can be written there", where=str(there), hint="choose another --out"
        )
    if not resume:
        RunFolder(run, {}, "").require_new()
    elif not (run / "config.json").is_file():
        raise ResumeError("this folder holds no run", where=str(run), hint="check the path")
