"""Tune from a file to an adapter that is saved and measured: one tuning, or several together.

`run_tuning` writes

    OUT/
      run/          the resumable training: checkpoint, metrics.jsonl
      run-pruned/   the second one, of methods whose first leaves weights to be trained again
      tuned/        the adapter without its base: an artifact of kind "lm-tuned"
      report.json   what was trained, for how long, and what it is worth on held-out texts

`run_jobs` leaves tuned/ and report.json of each job in OUT/NAME when the job leaves the batch; the
rest of OUT is as `tune_jobs` has it. Its file names the jobs:

    model = "smollm2-135m-instruct"
    out = "runs/shops"

    [[jobs]]
    name = "shop-1"
    data = { path = "shop-1.jsonl" }
    method = { kind = "LoRA", rank = 8 }
    tune = { epochs = 2, batch = 4 }

Texts are held out by groups, not by rows, where the file says which rows belong together: titles of
one product in training and in validation would make any method look good. Methods that look at
data first are shown the training texts, each once, in an order drawn by the run's seed.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BeforeValidator

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.config import from_jsonable, load_toml, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, MissingExtraError
from adwright.core.hashing import content_hash
from adwright.data.sources.bounds import memory_left
from adwright.lm.engine.weights import (
    SMOLLM2,
    GgufWeights,
    gguf_with,
    load_hf_model,
    load_hf_tokenizer,
    locate,
    quiet,
    smollm2_gguf,
)
from adwright.lm.torch_engine.model import fitting_dtype, quick_dtype, require_device
from adwright.lm.torch_engine.network import tuned_folder
from adwright.training.loop.distributed import on_first, process_group
from adwright.training.loop.run_folder import RunFolder
from adwright.training.tuning.jobs import Job, tune_jobs
from adwright.training.tuning.texts import PairsConfig, Texts, held_apart
from adwright.training.tuning.tune import (
    TuneConfig,
    TuneResult,
    answer_loss_of,
    answer_nll,
    as_in_first,
    tune,
)
from adwright.tuning.formats.gguf import gguf_tensors
from adwright.tuning.methods import METHODS, Method, apply, load_tuned, method_of, name_of
from adwright.tuning.packing.joint_lora import share_base
from adwright.tuning.packing.texts import PreemptionHook, between_layers
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned, TuningMethod

# --------------------------------------------------------------------------------------------------
# Load the base model that a method tunes: in the type that is quick, or in four bits.
#
# In four bits, under an adapter that is trained in float32: QLoRA (Dettmers, Pagnoni, Holtzman &
# Zettlemoyer, 2023, arXiv 2305.14314). Each group of 64 weights w is kept as codes of NF4, the 16
# quantiles of a normal distribution, and one scale,
#
#     w ~ s * q[c],  c in 0..15,      4 bits a weight and 0.127 for the scales, themselves quantised
#
# and W x is computed in bfloat16 from the codes, forward and backward. The codes do not move.
#
# bitsandbytes does this by kernels for CUDA. We never ran it on a CUDA device: what is tested is
# that
# it is refused where one is missing, and that the methods listed here train on a stand-in whose
# weight lies in codes too.

#: Empty: the base as it is.
Quantise = Literal["", "nf4"]

#: Methods that ask a map for W x and never for W: their base may lie in codes.
PACKABLE = frozenset(name for name, method in METHODS.items() if method.packable)


def require_four_bit(method: Method) -> None:
    """Raise ConfigError where the base cannot be kept in four bits: the method reads the weights
    themselves, there is no CUDA device, or bitsandbytes is not installed."""
    if not method.packable:
        raise ConfigError(
            f"{type(method).__name__} reads the base's weights, which four bits do not give",
            where="quantise = nf4",
            hint=f"tune by one of {', '.join(sorted(PACKABLE))}, or leave --four-bits (quantise) "
            "out",
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            "a base in four bits needs a CUDA device, and torch finds none",
            where="quantise = nf4",
            hint="leave --four-bits (quantise) out, or use a machine with CUDA and a torch for it",
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "a base in four bits needs bitsandbytes, which is not installed",
            where="quantise = nf4",
            hint="pip install bitsandbytes",
        )


def load_base(
    model: str,
    method: Method | None = None,
    *,
    quantise: Quantise = "",
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    offline: bool = False,
) -> tuple[Any, Any, str]:
    """Load a causal language model, its tokenizer, and the note on its figures.

    model: as `adwright lm generate --model` takes it. method: what will tune it, for its checks.
    quantise: "nf4" for four bits on the first CUDA device. dtype: None for float32 where the method
    moves the base's own weights, whose steps are small, and else for `quick_dtype`, unless that
    is float32 and would take more than a quarter of the memory that is left: then `fitting_dtype`.
    device: as torch names it; four bits are on the first CUDA device.
    Raises ConfigError for a device that is not there, and as `require_four_bit`, `locate` and
    `load_hf_model`: neither code that a folder brings is run, nor are pickled weights read.
    """
    device_map, quantization = None, None
    on = require_device(device)
    if quantise:
        if method is not None:
            require_four_bit(method)
        device_map, quantization = {"": 0}, _four_bits()
        dtype = torch.bfloat16
    tokenizer = load_tokenizer(model, offline=offline)
    place, note = locate(model, offline=offline)
    if dtype is None:
        whole = method is not None and method.trains_base
        dtype = torch.float32 if whole else _dtype_of(place, device)
    with quiet():
        loaded = load_hf_model(place, dtype=dtype, device_map=device_map, quantization=quantization)
    if not quantise:
        loaded = loaded.to(on)
    return loaded, tokenizer, note


def _dtype_of(place: str, device: str) -> torch.dtype:
    quick = quick_dtype(device)
    # Weights are stored with two bytes at least; those of a name on a hub are not known yet.
    stored = sum(file.stat().st_size for file in Path(place).glob("*.safetensors"))
    fits = 0 < 2 * stored <= memory_left() // 4
    return quick if fits or quick != torch.float32 else fitting_dtype(device)


def in_tokens(method: Method, tokenizer: Any) -> Method:
    """The method with its texts as tokens of this base, see `TuningMethod.in_tokens`."""

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return method.in_tokens(encode, _opening(tokenizer))


def _opening(tokenizer: Any) -> str:
    """What the chat template puts before an answer; empty where there is no template."""
    if not getattr(tokenizer, "chat_template", None):
        return ""
    asked = [{"role": "user", "content": "?"}]
    without, whole = (
        str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=adding))
        for adding in (False, True)
    )
    return whole.removeprefix(without) if whole.startswith(without) else ""


def _four_bits() -> Any:
    try:
        from transformers import BitsAndBytesConfig
    except ImportError as error:
        raise MissingExtraError("tuning of language models", "lm") from error
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def load_tokenizer(model: str, *, offline: bool = False) -> Any:
    """Load the tokenizer of a base; raises as `load_base`."""
    return load_hf_tokenizer(locate(model, offline=offline)[0], local_files_only=offline)


def beside_base(tuned: Tuned) -> None:
    """Move the weights that a method has added to the base's device."""
    device = tuned.causal.lm_head.weight.device
    for tensor in tuned.state().values():
        tensor.data = tensor.data.to(device)


#: Folders of the first training and of the second.
_RUN, _AGAIN = "run", "run-pruned"


#: `tune_on_ray` with its workers: takes what loads the model, texts, config, run, valid and resume.
TuneWith = Callable[..., tuple[Tuned, TuneResult]]
AnyMethod = Annotated[
    Method, BeforeValidator(lambda v: method_of(v) if isinstance(v, Mapping) else v)
]


@settings
class TuneRun:
    """One tuning. model: the base, as `adwright lm generate --model` takes it. sources: folders of
    saved adapters, for methods that build on others. quantise: nf4 for a base in four bits, which
    needs CUDA and bitsandbytes, see `load_base`. device: as torch names it."""

    data: PairsConfig
    method: AnyMethod = field(default_factory=LoRA)
    model: str = SMOLLM2
    sources: tuple[Path, ...] = ()
    tune: TuneConfig = field(default_factory=TuneConfig)
    quantise: Quantise = ""
    seed: int = 0
    out: Path = Path("runs/tuned")
    device: str = "cpu"


@dataclass(frozen=True)
class JobRun:
    """One tuning of several. name: of its folder. seed: of what is drawn, and of which texts are
    held out; it replaces tune.seed."""

    name: str
    data: PairsConfig
    method: AnyMethod = field(default_factory=LoRA)
    tune: TuneConfig = field(default_factory=TuneConfig)
    seed: int = 0


@dataclass(frozen=True)
class JobsRun:
    """Several tunings over one base. model: the base, as `adwright lm generate --model` takes
    it. device: as torch names it; of jobs that are tuned while they are served, the server's."""

    jobs: tuple[JobRun, ...]
    model: str = SMOLLM2
    out: Path = Path("runs/jobs")
    device: str = "cpu"


@dataclass(frozen=True)
class TuningReport:
    """What a tuning was and what it is worth. base: note on the model. trainable: parameters.
    steps, tokens, cpu_seconds: of the training, or of both. valid_nll, base_nll: nats per token of
    the held-out answers, with and without the method; None without such texts. peak_bytes: of the
    process. learning_rate: as it was asked for or chosen; 0 in reports of before it was noted."""

    method: str
    settings: Mapping[str, Any]
    base: str
    trainable: int
    share: float
    steps: int
    tokens: int
    cpu_seconds: float
    tokens_per_cpu_second: float
    peak_bytes: int
    texts: int
    held: int
    cut: int
    base_nll: float | None
    valid_nll: float | None
    data_hash: str
    learning_rate: float = 0.0

    @property
    def named(self) -> str:
        """What `--method` calls the method: a kind of peft by its own name."""
        return name_of(self.method, self.settings)

    @property
    def worse(self) -> bool:
        """Whether held-out answers are less likely than without the method."""
        if self.base_nll is None or self.valid_nll is None:
            return False
        return self.valid_nll > self.base_nll


def run_tuning(
    asked: TuneRun,
    *,
    resume: bool = False,
    overwrite: bool = False,
    tune_with: TuneWith | None = None,
) -> TuningReport:
    """Tune, save and measure; tune again what the method leaves then (`TuningMethod.then`).

    resume: continue the run in `asked.out`, and replace an adapter that it left there. overwrite:
    replace the run and the adapter that are there, once the model and the texts are found good.
    Under torchrun all processes call it, and the first one writes. tune_with: trains in other
    processes, as `tune_on_ray` does; None for `tune` in this one.
    Raises as `load_base`, `held_apart`, `apply` and `tune`, and ConfigError for what `tune_with`
    cannot do: a base in four bits, or a method that is trained twice.
    """
    if tune_with is not None:
        _require_once(asked)
    with process_group():
        return _run(asked, tune_with, resume=resume, overwrite=overwrite)


def _require_once(asked: TuneRun) -> None:
    twice = type(asked.method).then is not TuningMethod.then
    if twice or asked.quantise:
        raise ConfigError(
            "Ray's workers train once, over a base on the processor",
            where=type(asked.method).__name__ if twice else f"quantise = {asked.quantise}",
            hint="tune without Ray; torchrun divides the batches of any method",
        )


def _run(
    asked: TuneRun, tune_with: TuneWith | None, *, resume: bool, overwrite: bool
) -> TuningReport:
    runs = [] if resume else [asked.out / name for name in (_RUN, _AGAIN)]
    if not overwrite:
        for run in runs:
            RunFolder(run, {}, "").require_new()
    model, tokenizer, note = _opened(asked)
    asked = replace(asked, method=in_tokens(asked.method, tokenizer))
    train, valid = held_apart(asked.data, tokenizer, asked.seed)
    config = _settled(asked.tune, asked.method, asked.seed, model)
    # On a resumed run as well, whose report is that of a run that nobody disturbed.
    before = _untuned(model, valid, config) if len(valid) else None
    tuned = _attached(model, asked, train)
    held = valid if len(valid) else None

    def clear() -> None:
        for run in filter(Path.exists, runs):
            shutil.rmtree(run)

    on_first(clear)
    if tune_with is not None:
        # Paths for a process in another working folder.
        base, sources = Path(asked.model), tuple(source.resolve() for source in asked.sources)
        there = str(base.resolve()) if base.exists() else asked.model
        elsewhere = replace(asked, model=there, sources=sources)
        make = partial(_loaded, elsewhere, train)
        run = asked.out / _RUN
        tuned, result = tune_with(make, train, config, run, valid=held, resume=resume)
    else:
        result = _trained(tuned, train, config, asked.out, valid=held, resume=resume)
    rate = config.learning_rate or asked.method.default_rate
    report = _report(tuned, asked.method, result, (train, valid), note or asked.model, before, rate)

    def write() -> None:
        # Killed after this and before the report: the adapter is the run's own.
        tuned.save(asked.out / "tuned", overwrite=overwrite or resume)
        _write(report, asked.out)

    on_first(write)
    return report


def _opened(asked: TuneRun) -> tuple[Any, Any, str]:
    return load_base(asked.model, asked.method, quantise=asked.quantise, device=asked.device)


def _loaded(asked: TuneRun, train: Texts) -> Tuned:
    """The method on its base, in a process of its own."""
    return _attached(_opened(asked)[0], asked, train)


def _attached(model: Any, asked: TuneRun, train: Texts) -> Tuned:
    order = np.random.default_rng(asked.seed).permutation(len(train)).tolist()

    def losses(tuned: Tuned) -> Iterator[torch.Tensor]:
        """The loss of each text, one after another."""
        return (answer_loss_of(tuned, train.packed([row])) for row in order)

    tuned = apply(model, asked.method, seed=asked.seed, losses=losses, sources=asked.sources)
    beside_base(tuned)
    return tuned


def read_jobs(path: str | Path) -> JobsRun:
    """Read what a file of TOML, or of JSON where its name ends so, asks for.

    Raises ConfigError naming the file and the key, as `load_toml`.
    """
    path = Path(path)
    if path.suffix != ".json":
        return load_toml(path, JobsRun)
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the file of jobs cannot be read: {error}", where=str(path), hint="check the path"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError("the file of jobs is no table", where=str(path), hint='{"jobs": [...]}')
    return from_jsonable(JobsRun, values)


class LoadedJobs:
    """The jobs of a file with their texts, over a base that is in memory.

    model, tokenizer: of transformers. note: on the figures of the base. Raises as `held_apart`.
    """

    def __init__(self, asked: JobsRun, model: Any, tokenizer: Any, note: str = "") -> None:
        self.asked, self.model, self.note = asked, model, note or asked.model
        self.jobs: list[Job] = []
        self._texts: dict[str, tuple[Texts, Texts]] = {}
        for one in asked.jobs:
            train, valid = self._texts[one.name] = held_apart(one.data, tokenizer, one.seed)
            config = _settled(one.tune, one.method, one.seed, model)
            held = valid if len(valid) else None
            self.jobs.append(Job(one.name, one.method, train, config, held))

    def run(
        self,
        *,
        resume: bool = False,
        on_step: Callable[[int], None] | None = None,
        on_done: Callable[[str, TuningReport], None] | None = None,
        border: PreemptionHook | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, TuningReport]:
        """Tune all jobs together, save and measure; the reports by name of those that are done.

        on_done: called with name and report when a job is saved. The others, and errors, as
        `tune_jobs`.
        """
        by_name = {job.name: job for job in self.jobs}
        before = {job.name: self._untuned(job, border) for job in self.jobs}
        reports: dict[str, TuningReport] = {}

        def write(name: str, result: TuneResult) -> None:
            job, folder = by_name[name], self.asked.out / name
            tuned = apply(share_base(self.model), job.method, seed=job.config.seed)
            texts, rate = self._texts[name], job.config.learning_rate or job.method.default_rate
            found = _report(tuned, job.method, result, texts, self.note, before[name], rate)
            reports[name] = found
            _write(found, folder)
            if on_done is not None:
                on_done(name, found)

        tune_jobs(
            self.model,
            self.jobs,
            self.asked.out,
            resume=resume,
            on_step=on_step,
            on_done=write,
            border=border,
            stop=stop,
        )
        return {job.name: reports[job.name] for job in self.jobs if job.name in reports}

    def _untuned(self, job: Job, border: PreemptionHook | None) -> float | None:
        """Loss of the base on the held-out texts."""
        if job.valid is None:
            return None
        return _untuned(self.model, job.valid, job.config, border)


def _untuned(
    model: Any, valid: Texts, config: TuneConfig, border: PreemptionHook | None = None
) -> float:
    """Loss of the base, which is left as it is, on the held-out texts."""
    tuned = apply(share_base(model), LoRA(rank=1))
    beside_base(tuned)
    with nullcontext() if border is None else between_layers(tuned.causal, border):
        return answer_nll(tuned, valid, bfloat16=config.bfloat16)


def run_jobs(asked: JobsRun, *, resume: bool = False) -> dict[str, TuningReport]:
    """Tune all jobs together, save and measure; the reports by name.

    resume: continue the run in `asked.out`. Raises as `load_base`, `held_apart` and `tune_jobs`.
    """
    return LoadedJobs(asked, *load_base(asked.model, device=asked.device)).run(resume=resume)


def _settled(config: TuneConfig, method: Method, seed: int, model: Any) -> TuneConfig:
    """The config with the run's seed, the method's rate where none is asked for, and in bfloat16
    where the base is, or the machine is quicker in it, and the method allows it."""
    types = (model.dtype, quick_dtype(model.device.type))
    fits = torch.bfloat16 in types and method.mixed_precision
    rate = config.learning_rate or method.default_rate
    return replace(config, seed=seed, learning_rate=rate, bfloat16=config.bfloat16 or fits)


def _report(
    tuned: Tuned,
    method: Method,
    result: TuneResult,
    texts: tuple[Texts, Texts],
    base: str,
    before: float | None,
    rate: float,
) -> TuningReport:
    train, valid = texts
    return TuningReport(
        method=type(method).__name__,
        settings=to_jsonable(method),
        base=base,
        trainable=tuned.count(),
        share=tuned.count() / tuned.sizes.parameters,
        steps=result.steps,
        tokens=result.tokens,
        cpu_seconds=round(result.seconds, 2),
        tokens_per_cpu_second=round(result.tokens / max(result.seconds, 1e-9), 1),
        # Linux counts in kibibytes, macOS in bytes.
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
        texts=len(train),
        held=len(valid),
        cut=train.cut + valid.cut,
        base_nll=before,
        valid_nll=result.best if len(valid) else None,
        data_hash=content_hash([train.data_hash, valid.data_hash]),
        learning_rate=rate,
    )


def _write(report: TuningReport, folder: Path) -> None:
    atomic_write_text(folder / "report.json", json.dumps(to_jsonable(report), indent=1) + "\n")


def _trained(
    tuned: Tuned, train: Texts, config: TuneConfig, out: Path, *, valid: Texts | None, resume: bool
) -> TuneResult:
    """Train once, or twice where the second counts; steps, tokens and seconds are of both."""
    first = tune(tuned, train, config, out / _RUN, valid=valid, resume=resume)
    # What the method does then may depend on the last bit, and must be the same in all processes.
    as_in_first(tuned)
    if not tuned.method.then(tuned):
        return first
    # The base is whole in each process by now, and is not divided twice.
    config, again = replace(config, shard=False), out / _AGAIN
    begun = resume and (again / "config.json").exists()
    second = tune(tuned, train, config, again, valid=valid, resume=begun)
    return replace(
        second,
        steps=first.steps + second.steps,
        tokens=first.tokens + second.tokens,
        seconds=first.seconds + second.seconds,
    )


def merge_run(
    run: str | Path,
    to: str | Path,
    *,
    model: str = SMOLLM2,
    like: Path | None = None,
    weights: GgufWeights = "f16",
    overwrite: bool = False,
    offline: bool = False,
) -> str:
    """Merge the part in `run` into `model`, its base, and store the result in `to`: a file of GGUF
    where it ends so, else a folder in the layout of Hugging Face. Returns the method's name.

    like: a GGUF file of the base, for its tokeniser and settings; not needed where the base is
    one. weights: how a GGUF file stores matrices. A folder has the type of the base's weights.
    Raises ConfigError for a method that cannot be merged, or without such a file; ArtifactError
    where it is of another model; and as `load_base` and `load_tuned`.
    """
    to = Path(to)
    gguf = to.suffix == ".gguf"
    source = _source(model, like, offline=offline) if gguf else None
    base, tokenizer, _ = load_base(model, dtype="float32" if gguf else "auto", offline=offline)
    tuned = load_tuned(base, tuned_folder(run))
    method, merged = type(tuned.method).__name__, tuned.merge()
    network: Any = merged
    # A head that is no longer the embedding would be lost where the config does not say it.
    if network.lm_head.weight is not network.get_input_embeddings().weight:
        network.config.tie_word_embeddings = False
    if source is None:
        with quiet(), atomic_folder(to, overwrite=overwrite) as made:
            network.save_pretrained(str(made))
            tokenizer.save_pretrained(str(made))
    else:
        _write_gguf(merged, to, source, weights)
    return method


def _source(model: str, like: Path | None, *, offline: bool) -> Path:
    if like is not None:
        return like
    if model == SMOLLM2:
        return smollm2_gguf(offline=offline)
    if model.endswith(".gguf"):
        return Path(model)
    raise ConfigError(
        "a folder does not have what GGUF needs of a tokeniser",
        where=f"--model {model}",
        hint="name a GGUF file of the same base by --like; or merge into a folder, and convert it "
        "with llama.cpp's convert_hf_to_gguf.py",
    )


def _write_gguf(merged: Any, to: Path, source: Path, weights: GgufWeights) -> None:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingExtraError("models in GGUF", "lm") from error
    tensors = gguf_tensors(merged)
    try:
        # GGUF tells sizes in the opposite order.
        there = {
            str(one.name): tuple(int(size) for size in reversed(one.shape))
            for one in GGUFReader(source).tensors
        }
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ArtifactError(
            f"the GGUF file cannot be read: {error}", where=str(source), hint="name another one"
        ) from error
    for name, shape in there.items():
        if name in tensors and tensors[name].shape != shape:
            raise ArtifactError(
                f"{name} is {list(shape)} there and {list(tensors[name].shape)} in the model",
                where=str(source),
                hint="name a GGUF file of the base that was tuned",
            )
    if not there.keys() & tensors.keys():
        raise ArtifactError("it has no tensor of the model", where=str(source), hint="see --like")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as folder:
        made = Path(folder) / to.name
        gguf_with(source, made, weights, tensors)
        made.replace(to)
