"""The cloud's side of tuning that is shared with a device: the frozen base, and nothing of a text.

    device                        cloud
      hello                 ->
                            <-    ends        embedding, head, sizes of the maps
    each pass:
      forward  x0, places   ->                layer by layer; at each map whose module is active:
                            <-    input  x
      delta    s B A x      ->
                            <-    hidden      after the last norm
    where the pass is of a training step:
      backward dL/dhidden   ->                in the graph's order, at each active one:
                            <-    slope  g
      slope_in s A'B' g     ->
                            <-    done
    between steps:
      killed   A, B         ->                the cloud computes these modules, frozen
      revived               ->
      bye                   ->

Tokens, answers, loss and the weights of active modules stay on the device. The hidden states do not
hide the texts: x0 is a row of the cloud's own embedding for each token, so a cloud that looks can
read them. The paper promises that no text is stored or sent as such, no more.

See `kill_revive` for the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ConfigError, DataError
from adwright.training.offsite.wire import Channel, WireMessage
from adwright.tuning.modules import LINEAR, HeadLogits, Target, decoder_layers, head_logits, places
from adwright.tuning.packing.texts import attends_apart
from adwright.tuning.storage import fingerprint

#: Seconds that the device may take for its share of a step.
_WAIT = 600.0
#: Tokens of a pass at most, and bytes of a message beside its numbers.
_TOKENS, _SLACK = 1 << 16, 1 << 16


def serve_base(
    model: Any, channel: Channel, *, targets: tuple[Target, ...] = LINEAR, passes: int = 1_000_000
) -> int:
    """Compute the frozen `model` for one device until it says goodbye; returns the passes.

    model: a causal LM of transformers; it is left as it was. targets: the maps beside which the
    device may have a module. passes: at most so many. Raises DataError for what is out of turn or
    of other sizes, ConfigError for too many passes, and as `Channel.receive`.
    """
    model.requires_grad_(False).eval()
    with channel:
        channel.receive_hello()
        found = list(places(model, targets))
        channel.send(_ends(model, [(place.name, place.linear) for place in found]))
        maps = [_Map(place.linear, number, channel) for number, place in enumerate(found)]
        plain = [place.linear for place in found]
        for place, module in zip(found, maps, strict=True):
            place.put(module)
        try:
            with attends_apart(model):
                return _serve(model, channel, maps, passes)
        finally:
            for place, linear in zip(found, plain, strict=True):
                place.put(linear)


def _serve(model: Any, channel: Channel, maps: list[_Map], passes: int) -> int:
    done, width = 0, model.config.hidden_size
    # States of a pass, or the killed modules of all maps, of the largest rank.
    maps_bytes = sum(4 * m.base.weight.numel() * 2 + _SLACK for m in maps)
    most = max(4 * _TOKENS * (width + 2), maps_bytes) + _SLACK
    while True:
        asked = channel.receive("forward", "killed", "revived", "bye", timeout=_WAIT, limit=most)
        match asked.kind:
            case "bye":
                return done
            case "killed":
                for number in _numbers(asked, len(maps)):
                    a, b = asked.tensor(f"{number}.a"), asked.tensor(f"{number}.b")
                    maps[number].kill(a, b, asked.real("scale"))
            case "revived":
                for number in _numbers(asked, len(maps)):
                    maps[number].dead = None
            case _:
                if done >= passes:
                    raise ConfigError("the device asks for too many passes", where=str(passes))
                done += 1
                _pass(model, channel, asked)


def _pass(model: Any, channel: Channel, asked: WireMessage) -> None:
    """One forward pass, and the backward pass where the device asks for it."""
    x, position = asked.tensor("x"), asked.tensor("places")
    width = model.config.hidden_size
    if x.ndim != 2 or x.shape[1] != width or position.shape != x.shape[:1]:
        raise DataError("the device sends states of another size", column="x", value=tuple(x.shape))
    trains = asked.fields.get("trains") is True
    x = x.to(model.dtype).requires_grad_(trains)
    with torch.set_grad_enabled(trains):
        hidden = model.model(
            inputs_embeds=x[None], position_ids=position[None], use_cache=False
        ).last_hidden_state[0]
    channel.send(WireMessage("hidden", {}, {"hidden": hidden}))
    if trains:
        most = 4 * hidden.numel() + _SLACK
        slope = channel.receive("backward", timeout=_WAIT, limit=most).tensor("slope")
        if slope.shape != hidden.shape:
            raise DataError("the device sends a slope of another size", column="slope")
        hidden.backward(slope.to(hidden.dtype))
        channel.send(WireMessage("done"))


class _Map(nn.Module):
    """A map of the base, and the device's module beside it; `dead`: A, B and scale of a killed
    module, which the cloud computes."""

    def __init__(self, base: nn.Linear, number: int, channel: Channel) -> None:
        super().__init__()
        self.base, self.number, self.channel = base, number, channel
        self.dead: tuple[Tensor, Tensor, float] | None = None

    def kill(self, a: Tensor, b: Tensor, scale: float) -> None:
        """Compute the module here from now on. Raises DataError for other sizes."""
        rank = a.shape[0]
        wanted = (rank, self.base.in_features), (self.base.out_features, rank)
        if (tuple(a.shape), tuple(b.shape)) != wanted:
            raise DataError("a killed module has another size", column=str(self.number))
        self.dead = (a, b, scale)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y: Tensor = self.base(x)
        if self.dead is None:
            return y + _Ask.apply(x, self.number, y.shape[-1], self.channel)  # type: ignore[no-any-return, no-untyped-call]
        a, b, scale = self.dead
        low = functional.linear(x, a.to(x.dtype)) * scale
        return y + functional.linear(low, b.to(x.dtype))


class _Ask(torch.autograd.Function):
    """The device's module as a differentiable function of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, number: int, width: int, channel: Channel) -> Tensor:
        ctx.number, ctx.channel, ctx.shape = number, channel, x.shape
        channel.send(WireMessage("input", {"module": number}, {"x": x.reshape(-1, x.shape[-1])}))
        shape = (*x.shape[:-1], width)
        most = 4 * torch.Size(shape).numel() + _SLACK
        delta = channel.receive("delta", timeout=_WAIT, limit=most).tensor("delta")
        return _shaped(delta, shape, x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None, None]:
        slope = {"slope": above.reshape(-1, above.shape[-1])}
        ctx.channel.send(WireMessage("slope", {"module": ctx.number}, slope))
        most = 4 * ctx.shape.numel() + _SLACK
        back = ctx.channel.receive("slope_in", timeout=_WAIT, limit=most).tensor("slope")
        return _shaped(back, ctx.shape, above.dtype), None, None, None


def _shaped(value: Tensor, shape: Any, dtype: torch.dtype) -> Tensor:
    if value.numel() != torch.Size(shape).numel():
        raise DataError("the device answers with another size", value=tuple(value.shape))
    return value.view(shape).to(dtype)


def _ends(model: Any, maps: list[tuple[str, nn.Linear]]) -> WireMessage:
    """The message with what turns tokens into states, and states into a loss."""
    tensors = {"embedding": model.get_input_embeddings().weight}
    head = model.lm_head
    if head.weight.data_ptr() != tensors["embedding"].data_ptr():
        tensors["head"] = head.weight
    if head.bias is not None:
        raise ConfigError("a head with a bias is not sent", where=type(model).__name__)
    embedding = model.get_input_embeddings()
    if head_logits(model.config) != HeadLogits() or type(embedding) is not nn.Embedding:
        raise ConfigError(
            "the device would not know how this model scales its embedding and its logits",
            where=type(model).__name__,
            hint="offer a model of the families Llama, Mistral or Qwen",
        )
    sizes: Mapping[str, Any] = {
        "names": [name for name, _ in maps],
        "sizes": [[linear.in_features, linear.out_features] for _, linear in maps],
        "layers": len(decoder_layers(model)),
        "base": fingerprint(model),
    }
    return WireMessage("ends", sizes, tensors)


def _numbers(message: WireMessage, modules: int) -> list[int]:
    found = message.fields.get("modules")
    if not isinstance(found, list) or not all(
        isinstance(each, int) and 0 <= each < modules for each in found
    ):
        raise DataError("a message names no module", column=message.kind, value=found)
    return found
