"""The verbs of `adwright tune`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from adwright.cli.shared import (
    Writing,
    allowed_to_replace,
    require_ray_options,
    show_facts,
    show_table,
)
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuningReport
    from adwright.tuning.modules import Target


# --------------------------------------------------------------------------------------------------
# Options that several verbs of `adwright tune` share, how they read settings and print a loss.


def as_loss(value: float | None) -> str:
    """The loss with four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def read_settings(settings: list[str], dropout: float | None = None) -> dict[str, Any]:
    """Read NAME=VALUE as TOML; a value that is not TOML is a text."""
    found: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    for one in settings:
        name, given, value = one.partition("=")
        if not given or not name.strip().isidentifier():
            raise ConfigError("a setting is NAME=VALUE", where=f"--set {one}", hint="--set rank=16")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value.strip()
    return found


def print_run(asked: Any) -> None:
    """Print the settings of a tuning that a dry run does not begin."""
    from adwright.core.config import to_jsonable

    plain = to_jsonable(asked)
    if "method" in plain:
        plain["method"] = {"class": type(asked.method).__name__, **plain["method"]}
    typer.echo(json.dumps(plain, indent=1))


def show_tuned(report: TuningReport, out: Path, more: Mapping[str, str]) -> None:
    """Print what a tuning came to, and advice where it did harm. more: further facts."""
    nats = f"{as_loss(report.base_nll)} -> {as_loss(report.valid_nll)}"
    show_facts(
        {
            "method": report.named,
            "base": report.base,
            "trainable": f"{report.trainable:,} ({report.share:.2%})",
            **more,
            "held-out answers, nats per token": nats,
            "saved in": str(out / "tuned"),
        }
    )
    if report.worse:
        typer.echo(
            "The tuned model is worse on the held-out answers than its base: lower --rate, give "
            "more texts or --steps, or keep the base.",
            err=True,
        )


# --------------------------------------------------------------------------------------------------
# adwright tune compare: several runs side by side.


def compare(
    runs: list[Path],
    *,
    picture: Path | None = None,
) -> None:
    """Show several runs side by side, the lowest loss on held-out answers first.

    Losses are nats per token of the held-out answers, those of the base beside them.

    Options:
        runs: Folders that `adwright tune run` wrote.
        picture: Write an SVG of held-out loss against peak memory here; replaces it.
    """
    reports = [(folder, _report(folder)) for folder in runs]
    if len({report.data_hash for _, report in reports}) > 1:
        typer.echo("These runs saw different texts: their losses cannot be compared.", err=True)
    reports.sort(key=lambda pair: (pair[1].valid_nll is None, pair[1].valid_nll or 0.0))
    names = [folder.name for folder, _ in reports]
    whole = len(set(names)) < len(names)
    show_table(
        ("run", "method", "trainable", "held", "base", "tokens/s", "CPU-s", "peak GB"),
        [
            (
                str(folder) if whole else folder.name,
                report.named,
                f"{report.trainable:,}",
                as_loss(report.valid_nll),
                as_loss(report.base_nll),
                f"{report.tokens_per_cpu_second:,.0f}",
                f"{report.cpu_seconds:,.0f}",
                f"{report.peak_bytes / 1e9:.2f}",
            )
            for folder, report in reports
        ],
        unbroken=True,
    )
    if picture is not None:
        _draw(reports, picture)


def _draw(reports: list[tuple[Path, TuningReport]], picture: Path) -> None:
    """Draw loss against memory, for the runs with held-out texts."""
    from adwright.core.atomic import atomic_write_text
    from adwright.metrics.reports.charts import to_svg, trade_off

    rows = [
        {
            "name": folder.name,
            "x": report.peak_bytes / 1e9,
            "y": report.valid_nll,
            "series": report.named,
        }
        for folder, report in reports
        if report.valid_nll is not None
    ]
    chart = trade_off(rows, x_title="peak memory, GB", y_title="held loss, nats per token")
    atomic_write_text(picture, to_svg(chart))


def _report(folder: Path) -> TuningReport:
    from adwright.core.config import from_jsonable
    from adwright.training.tuning.run import TuningReport

    try:
        values = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "this folder holds no finished tuning",
            where=str(folder),
            hint="name what `adwright tune run` wrote with --out",
        ) from error
    return from_jsonable(TuningReport, values)


# --------------------------------------------------------------------------------------------------
# adwright tune export and import: a tuned part in the format of llama.cpp or of peft.


def export(
    folder: Path,
    *,
    to: Path,
    model: str = "smollm2-135m-instruct",
    floats: Literal["f32", "f16"] = "f32",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Write a tuned part for other programs, which load it beside the base.

    A folder is in peft's format, for peft, vLLM, SGLang and the hub: LoRA and its kin, DoRA, (IA)3,
    prompts and prefixes, and the kinds of peft. FILE.gguf holds a LoRA, rsLoRA or LoRA-FA. Other
    methods have no such form: `adwright tune merge` stores base and part as one model.

    Options:
        folder: What `adwright tune run` wrote, or the `tuned` in it.
        to: FILE.gguf for llama.cpp, or a folder in the format of Hugging Face peft.
        model: The base that it was tuned on, as for `run`.
        floats: Of FILE.gguf: f16 halves it.
    """
    replacing = allowed_to_replace(to, force=force)
    from adwright.lm.torch_engine.network import tuned_folder
    from adwright.training.tuning.run import load_base
    from adwright.tuning.formats.gguf import to_gguf
    from adwright.tuning.formats.peft import to_peft
    from adwright.tuning.methods import load_tuned

    # Its weights only prove that it is the right base: bfloat16 is enough.
    base, _, _ = load_base(model, dtype="bfloat16", offline=offline)
    tuned = load_tuned(base, tuned_folder(folder))
    if to.suffix == ".gguf":
        files = [to_gguf(tuned, to, dtype=floats)]
    else:
        files = [*to_peft(tuned, to, base=model, overwrite=replacing or force).iterdir()]
    _tell(type(tuned.method).__name__, model, files, to)


def bring_in(
    folder: Path,
    *,
    to: Path,
    model: str = "smollm2-135m-instruct",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Read a part that another program tuned: a LoRA, DoRA, (IA)3, prompt or prefix of peft, or a
    LoRA in GGUF. TO/tuned then is what `run` would have left there, for all verbs.

    Their files do not say which base they belong to: name it. Sizes are checked, weights cannot be.

    Options:
        folder: What peft wrote, or a hub's copy of it; or FILE.gguf.
        to: Folder for the part, as `run` has --out.
        model: The base that it was tuned on, as for `run`.
    """
    replacing = allowed_to_replace(to / "tuned", force=force)
    from adwright.training.tuning.run import load_base
    from adwright.tuning.formats.gguf import from_gguf
    from adwright.tuning.formats.peft import from_peft

    base, _, _ = load_base(model, dtype="bfloat16", offline=offline)
    tuned = from_gguf(base, folder) if folder.suffix == ".gguf" else from_peft(base, folder)
    tuned.save(to / "tuned", overwrite=replacing or force)
    files = [file for file in (to / "tuned").iterdir() if file.is_file()]
    _tell(type(tuned.method).__name__, model, files, to / "tuned")


def _tell(method: str, base: str, files: list[Path], to: Path) -> None:
    size = sum(file.stat().st_size for file in files)
    show_facts({"method": method, "base": base, "bytes": f"{size:,}", "saved in": str(to)})


# --------------------------------------------------------------------------------------------------
# adwright tune jobs: several LoRA tunings over one base, all in each step.


def jobs(
    file: Path,
    *,
    out: Path | None = None,
    device: str | None = None,
    resume: bool = False,
    dry_run: bool = False,
) -> None:
    """Tune several adapters of one base together: small jobs share the cost of a step.

    Each job has its own texts, settings and end, and comes out as if it had been tuned alone, up
    to rounding. OUT/NAME then holds `tuned`, which `adwright lm serve` reads, and `report.json`,
    which `adwright tune compare` reads. Only LoRA and LoRAFA share a step. A run that was killed
    continues with --resume and ends with the same bits.

    Options:
        file: TOML or JSON: a table `jobs`, each with a name and its data.
        out: Folder for the run, instead of the file's.
        device: Where it is computed, instead of the file's: cpu, cuda.
    """
    from adwright.core.config import with_overrides
    from adwright.training.tuning.run import read_jobs, run_jobs

    asked = with_overrides(read_jobs(file), {"out": out, "device": device})
    if dry_run:
        print_run(asked)
        return
    reports = run_jobs(asked, resume=resume)
    show_table(
        ("job", "method", "trainable", "steps", "base nats", "held nats", "saved in"),
        [
            (
                name,
                report.method,
                f"{report.trainable:,}",
                str(report.steps),
                as_loss(report.base_nll),
                as_loss(report.valid_nll),
                str(asked.out / name / "tuned"),
            )
            for name, report in reports.items()
        ],
    )


# --------------------------------------------------------------------------------------------------
# adwright tune merge: a tuned part and its base as one model.


def merge(
    run: Path,
    *,
    to: Path,
    model: str = "smollm2-135m-instruct",
    like: Path | None = None,
    weights: Literal["f16", "f32", "q8_0"] = "f16",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Fold a tuned part into its base, and store the whole model.

    What is stored answers as base and part together, and takes a full model's space. Parts that
    cannot be folded, such as adapters with an activation, prompts and prefixes, are refused.

    Options:
        run: What `adwright tune run` wrote, or the `tuned` in it.
        to: A folder for transformers, or FILE.gguf for llama.cpp.
        model: The base that it was tuned on, as for `run`.
        like: For FILE.gguf: a GGUF file of the same base, whose tokeniser and settings are
            taken over; not needed where --model is one.
        weights: How FILE.gguf stores matrices.
    """
    replacing = allowed_to_replace(to, force=force)
    from adwright.training.tuning.run import merge_run

    method = merge_run(
        run,
        to,
        model=model,
        like=like,
        weights=weights,
        overwrite=replacing or force,
        offline=offline,
    )
    files = [to] if to.is_file() else [file for file in to.rglob("*") if file.is_file()]
    _tell(method, model, files, to)


# --------------------------------------------------------------------------------------------------
# adwright tune offsite: tuning where model and texts have different owners.

offsite = typer.Typer(
    no_args_is_help=True,
    help="Tune a model on texts, where neither of their owners hands them out.",
    rich_markup_mode="markdown",
)


@verb(offsite, "owner", once="own")
def own(
    *,
    model: str = "smollm2-135m-instruct",
    out: Path = Path("runs/plugged"),
    ends: Count = 2,
    kept: Count = 8,
    distil: Path | None = None,
    distil_steps: Count = 200,
    host: str = "127.0.0.1",
    port: Natural = 0,
    wait: float = 86_400.0,
    force: bool = False,
) -> None:
    """Offer a model for tuning without handing it out, wait, and keep the tuned model.

    The texts' owner gets the ends and a thinned middle, and runs `adwright tune offsite trainer`;
    what comes back is put into the whole model. OUT can be given to --model afterwards.

    Options:
        model: The default model, a folder, a .gguf file, or a name.
        out: Folder for the tuned model.
        ends: Layers of each end, which are trained.
        kept: Layers of the middle that are given away.
        distil: Own texts, as for `tune run`, to train kept layers on.
        distil_steps: Its steps.
        host: Address to listen on; nothing is encrypted.
        port: 0 for a free one.
        wait: Seconds to wait for the other side.
    """
    from adwright.training.offsite.sandwich import OwnerRun, run_owner

    asked = OwnerRun(model, out, ends, kept, distil, distil_steps, host, port, wait)
    replacing = allowed_to_replace(out, force=force)
    run_owner(
        asked,
        overwrite=replacing or force,
        on_listening=lambda address: typer.echo(f"listening on {address}"),
    )
    show_facts({"saved in": str(out)})


@verb(offsite, "trainer", once="train")
def train(
    *,
    data: Path,
    connect: str,
    rank: Natural = 8,
    out: Path = Path("runs/offsite"),
    group: str = "",
    epochs: Count = 1,
    batch: Count = 8,
    rate: float | None = None,
    max_length: Annotated[int, Ge(8)] = 384,
    seed: Natural = 0,
    resume: bool = False,
) -> None:
    """Tune the model that is offered elsewhere; the texts stay here.

    What goes back are the weights of the ends. A tenth of the texts is held out, as by `tune run`.

    Options:
        data: JSON lines with a prompt and an answer in each, or OpenAI's `messages`.
        connect: HOST:PORT/TOKEN that the other side printed; HOST:PORT where
            ADWRIGHT_OFFSITE_TOKEN holds the token; or @FILE, whose first line is one of them.
        rank: Of LoRA in the ends; 0 trains them whole.
        out: Folder for the run and its report.
        group: Field whose rows are held out for validation together.
        epochs: Passes over the texts.
        batch: Texts per step.
        rate: Learning rate; by default the one that suits the method.
        max_length: Tokens per text.
    """
    from adwright.training.offsite.sandwich import TrainerRun, run_trainer
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig

    tune = TuneConfig(epochs=epochs, batch=batch, micro=batch, learning_rate=rate, seed=seed)
    pairs = PairsConfig(path=data, group=group, max_length=max_length)
    asked = TrainerRun(data=pairs, address=connect, rank=rank, out=out, tune=tune)
    report = run_trainer(asked, resume=resume)
    show_facts(
        {
            "trainable": f"{report.trainable:,}",
            "tokens": f"{report.tokens:,} in {report.cpu_seconds:,.0f} CPU-seconds",
            "held-out answers, nats per token": as_loss(report.valid_nll),
            "sent": f"{report.sent:,} bytes",
            "received": f"{report.received:,} bytes",
        }
    )


# --------------------------------------------------------------------------------------------------
# adwright tune split: tuning that a device shares with a cloud, with few modules at a time.

split = typer.Typer(
    no_args_is_help=True,
    help="Tune on a device beside a base that a cloud computes; modules that hardly change are "
    "left out for a while, which saves work and traffic.",
    rich_markup_mode="markdown",
)


@verb(split, "server", once="cloud")
def cloud(
    *,
    model: str = "smollm2-135m-instruct",
    targets: str = "q_proj,v_proj",
    host: str = "127.0.0.1",
    port: Natural = 0,
    wait: float = 86_400.0,
    dry_run: bool = False,
) -> None:
    """Hold the frozen base and compute it for one device, until that is done.

    The device runs `adwright tune split client`. No text is sent as such, but each token is a row
    of the base's own embedding: a cloud that looks can read it.

    Options:
        model: The default model, a folder, a .gguf file, or a name.
        targets: Maps that get a module, the same on both sides.
        host: Address to listen on; nothing is encrypted.
        port: 0 for a free one.
        wait: Seconds to wait for the other side.
    """
    from adwright.training.offsite.revive import CloudRun, run_cloud

    asked = CloudRun(model=model, targets=_targets(targets), host=host, port=port, wait=wait)
    if dry_run:
        print_run(asked)
        return
    passes = run_cloud(asked, on_listening=lambda at: typer.echo(f"listening on {at}"))
    show_facts({"passes": f"{passes:,}"})


@verb(split, "client", once="device")
def device(
    *,
    data: Path,
    connect: str,
    model: str = "smollm2-135m-instruct",
    targets: str = "q_proj,v_proj",
    rank: Count = 8,
    window: Natural = 8,
    alive: Annotated[float, Ge(0), Le(1)] = 0.25,
    revived: Annotated[float, Ge(0), Le(1)] = 0.05,
    group: str = "",
    epochs: Count = 1,
    batch: Count = 8,
    rate: float | None = None,
    max_length: Annotated[int, Ge(8)] = 384,
    seed: Natural = 0,
    go: Writing = Writing(Path("runs/revive")),
) -> None:
    """Hold texts and modules, and train beside the base of `adwright tune split server`.

    OUT/tuned is then a LoRA as `adwright tune run` writes it, and OUT/report.json says what was
    spent. --model names the cloud's base, of which the tokenizer alone is read here.

    Options:
        data: JSON lines with a prompt and an answer in each, or OpenAI's `messages`.
        connect: HOST:PORT/TOKEN that the other side printed; HOST:PORT where
            ADWRIGHT_OFFSITE_TOKEN holds the token; or @FILE, whose first line is one of them.
        model: The default model, a folder, a .gguf file, or a name.
        targets: Maps that get a module, the same on both sides.
        rank: Of the LoRA modules.
        window: Steps between choices; 0 keeps all modules.
        alive: Share of the modules that train.
        revived: Share revived at each choice.
        out: Folder for the adapter.
        group: Field whose rows are held out for validation together.
        epochs: Passes over the texts.
        batch: Texts per step.
        rate: Learning rate; by default the one that suits the method.
        max_length: Tokens per text.
    """
    from adwright.training.offsite.revive import DeviceRun, run_device
    from adwright.training.offsite.sandwich import KillRevive
    from adwright.training.offsite.wire import read_address
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig
    from adwright.tuning.reparameterised.lora import LoRA

    read_address(connect)
    asked = DeviceRun(
        data=PairsConfig(path=data, group=group, max_length=max_length),
        address=connect,
        model=model,
        lora=LoRA(rank=rank, targets=_targets(targets)),
        rule=KillRevive(window=window, alive=alive, revived=revived),
        tune=TuneConfig(epochs=epochs, batch=batch, micro=batch, learning_rate=rate, seed=seed),
        out=go.out,
    )
    if go.dry_run:
        print_run(asked)
        return
    replacing = go.may_replace("tuned")
    report = run_device(asked, overwrite=replacing or go.force)
    show_facts(
        {
            "modules": f"{report.modules}, of which {report.alive[-1]} trained at the end",
            "training loss": f"{as_loss(report.losses[0])} -> {as_loss(report.losses[-1])}",
            "held-out answers, nats per token": as_loss(report.valid),
            "sent": f"{report.sent:,} bytes",
            "received": f"{report.received:,} bytes",
            "saved in": str(go.out / "tuned"),
        }
    )


def _targets(named: str) -> tuple[Target, ...]:
    """Read names with commas between them. Raises ConfigError for one that is none."""
    from adwright.tuning.modules import LINEAR

    names = [name.strip() for name in named.split(",")]
    found = tuple(target for target in LINEAR if target in names)
    if not names or len(found) != len(names):
        raise ConfigError(
            "targets are maps of a decoder layer, each once",
            where=f"--targets {named}",
            hint=f"some of {','.join(LINEAR)}",
        )
    return found


app = typer.Typer(
    cls=DefaultGroup,
    help="Tune a language model on prompts and answers, by any method of the taxonomy.",
    rich_markup_mode="markdown",
)


@verb(app, "run")
def run(
    *,
    data: Path,
    method: str = "LoRA",
    settings: list[str] | None = None,
    model: str = "smollm2-135m-instruct",
    group: str = "",
    epochs: Count = 1,
    steps: Natural = 0,
    batch: Count = 8,
    rate: float | None = None,
    dropout: float | None = None,
    max_length: Annotated[int, Ge(8)] = 384,
    prompt_field: str = "prompt",
    answer_field: str = "answer",
    messages_field: str = "messages",
    system: str = "",
    valid: float = 0.1,
    sources: list[Path] | None = None,
    recompute: bool = False,
    shard: bool = False,
    four_bits: bool = False,
    device: str = "cpu",
    seed: Natural = 0,
    ray_workers: Natural = 0,
    retries: Natural = 0,
    resume: bool = False,
    go: Writing = Writing(Path("runs/tuned")),
) -> None:
    """Tune a model and save the adapter, which is small and needs its base to be used.

    The share --valid of the texts (of the groups, with --group) is held out, and decides which
    parameters are kept. OUT then holds the adapter in `tuned`, the resumable `run`, and
    `report.json`, which `adwright tune compare` reads. A run that was killed continues with
    --resume and ends with the same bits. With --ray-workers the processes of Ray divide each batch,
    on the cluster of RAY_ADDRESS or on this machine; it needs the extra `ray`.

    Options:
        data: JSON lines with a prompt and an answer in each, or OpenAI's `messages`.
        method: One of `adwright tune methods`, as it is printed there; for kinds of peft,
            peft:loha and so on. Large and small letters are the same.
        settings (--set): A setting of the method, NAME=VALUE in TOML: --set rank=16.
        model: The default model, a folder, a .gguf file, or a name.
        out: Folder for the run and its adapter.
        group: Field whose rows are held out for validation together.
        epochs: Passes over the texts.
        steps: This many steps instead.
        batch: Texts per step.
        rate: Learning rate; by default the one that suits the method.
        dropout: Of LoRA's input, while it is trained; as --set dropout=0.1.
        max_length: Tokens per text.
        prompt_field: Field that holds the prompt.
        answer_field: Field that holds the answer.
        messages_field: Field that holds a whole conversation, in lines without a prompt; each
            answer of the assistant is learned.
        system: Said before each text that has no such turn.
        valid: Share of the texts that is held out; 0 for none.
        sources (--source): A saved adapter that a method such as LoRAHub builds on.
        recompute (--checkpoint-layers): Compute layers again in the backward pass, to save
            memory.
        shard: Under torchrun: each process holds its share of the base.
        four_bits: Keep the base in NF4 (QLoRA): CUDA and bitsandbytes.
        device: Where it is computed, as torch names it: cpu, cuda.
    """
    from adwright.training.on_ray import tune_on_ray
    from adwright.training.tuning.run import TuneRun, run_tuning
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig
    from adwright.tuning.methods import method_of

    require_ray_options(ray_workers, retries)
    fields = (prompt_field, answer_field, group)
    pairs = PairsConfig(data, *fields, valid, max_length, system, messages_field)
    tune = TuneConfig(epochs, steps, batch, batch, rate, checkpoint_layers=recompute, shard=shard)
    asked = TuneRun(
        data=pairs,
        method=method_of({**read_settings(settings or [], dropout), "kind": method}),
        model=model,
        sources=tuple(sources or ()),
        tune=tune,
        quantise="nf4" if four_bits else "",
        device=device,
        seed=seed,
        out=go.out,
    )
    if go.dry_run:
        print_run(asked)
        return
    # What a run that is resumed has left is its own.
    replacing = resume or go.may_replace("tuned") or go.force
    with_ray = partial(tune_on_ray, workers=ray_workers, retries=retries) if ray_workers else None
    report = run_tuning(asked, resume=resume, overwrite=replacing, tune_with=with_ray)
    acts = report.settings.get("invocation")
    more = {"acts from the last": f"tokens {list(acts)}"} if acts else {}
    more["learning rate"] = f"{report.learning_rate:g}"
    more["tokens"] = f"{report.tokens:,}, {report.tokens_per_cpu_second:,.0f} per CPU-second"
    show_tuned(report, go.out, more)


@verb(app, "methods")
def methods() -> None:
    """List the methods of the taxonomy: ours, wrapped from peft, or why not done."""
    from adwright.tuning.methods import as_markdown

    typer.echo(as_markdown())


# After `run`, which stands where no verb is named.
verb(app, "compare")(compare)
verb(app, "export")(export)
verb(app, "import")(bring_in)
verb(app, "jobs")(jobs)
verb(app, "merge")(merge)
app.add_typer(offsite, name="offsite")
app.add_typer(split, name="split")
app.add_typer(split, name="revive", hidden=True)
