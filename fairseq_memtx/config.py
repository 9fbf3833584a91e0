"""Options of the decoders, the one source of our command-line flags: dataclasses free of fairseq.

A field `memory_span` becomes the flag `--memtx-memory-span` and the attribute `memtx_memory_span`
of fairseq's settings; `add_flags` and `from_namespace` do that.
"""

import argparse
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from .ground.errors import UserError
from .ground.registry import Registry

PREFIX = "memtx_"

Options = TypeVar("Options")


#: What a value is chosen from: names, or what gives a registry (imported when it is needed).
Choices = tuple[str, ...] | Callable[[], Registry[Any]]


def option(default: Any, help: str, choices: Choices | None = None, closed: bool = True) -> Any:
    """A dataclass field with what its flag needs.

    Args:
        default: value where none is given; its type is the flag's.
        help: of the flag; `{choices}` stands for the registry's own words.
        choices: of which the value is one.
        closed: no other value is allowed.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "closed": closed})


def choices_of(item: Field) -> tuple[str, ...] | None:
    """The values allowed; None for any."""
    choices = item.metadata["choices"]
    if choices is None or not item.metadata["closed"]:
        return None
    return choices if isinstance(choices, tuple) else tuple(choices())


def help_of(item: Field) -> str:
    """What the flag is for."""
    text, choices = item.metadata["help"], item.metadata["choices"]
    return text.format(choices=choices().describe()) if callable(choices) else text


def _mixtures() -> Registry[Any]:
    from .modules.mixture import MIXTURES

    return MIXTURES


def _engines() -> Registry[Any]:
    from .engine import ENGINES

    return ENGINES


def _compressions() -> Registry[Any]:
    from .modules.compression import COMPRESSIONS

    return COMPRESSIONS


@dataclass(frozen=True)
class FeedbackOptions:
    """What the Feedback decoder can be told (Fan et al. 2020, arXiv 2002.09402)."""

    memory_mixture: str = option(
        "softmax",
        "how the layers' states make a position's memory: {choices}, or a state's number from 0 to"
        " the number of layers",
        choices=_mixtures,
        closed=False,
    )
    memory_kv: str = option(
        "shared",
        "one key and value projection of a memory for all layers that read it, or one per layer",
        choices=("shared", "per-layer"),
    )
    memory_span: int = option(
        0, "number of past positions (subwords) that a position attends to; 0 means all"
    )
    relative_positions: int = option(
        0,
        "learn a key embedding for each distance up to this number of positions, shared by heads"
        " and layers; usually with --no-token-positional-embeddings, which then leaves the encoder"
        " its positions; 0 means none",
    )
    carry_len: int = option(
        -1,
        "past positions whose memories a language model carries from one block of a text to the"
        " next; -1 means those of the span or, without one, as many as a block has, but none with"
        " absolute positions",
    )
    memory_channels: int = option(
        1,
        "memories of a position, each a mixture of its own; layer l reads that of the number l"
        " modulo this one",
    )
    engine: str = option(
        "manual",
        "how the recurrence is run in training: {choices}",
        choices=_engines,
    )
    sweeps: int = option(
        8,
        "sweeps of the parallel engine over each block of positions; a block is exact after as many"
        " as it has positions",
    )
    sweep_block: int = option(
        0,
        "positions of a block of the parallel engine; a block is done before the next begins; 0"
        " means the whole target",
    )
    sweep_grads: int = option(
        0,
        "sweeps over each block that the parallel engine's gradient goes through, the last ones; 0"
        " means all",
    )
    sweep_groups: int = option(
        1,
        "groups into which a sweep of the parallel engine takes a block apart, positions this far"
        " apart in one; each group reads what those before it have just made, so that a sweep"
        " settles as many positions as there are groups",
    )

    def __post_init__(self) -> None:
        _one_of_choices(self, "memory_kv", "engine")
        _at_least(0, self, "memory_span", "relative_positions", "sweep_block", "sweep_grads")
        _at_least(-1, self, "carry_len")
        _at_least(1, self, "sweeps", "sweep_groups", "memory_channels")
        if self.engine != "parallel":
            names = ("sweeps", "sweep_block", "sweep_grads", "sweep_groups")
            _left_out(self, f"without {flag('engine')} parallel", *names)
        if self.sweep_grads > self.sweeps:
            raise ValueError(
                f"{flag('sweep_grads')} is {self.sweep_grads}: it has to be at most"
                f" {flag('sweeps')} {self.sweeps}"
            )


@dataclass(frozen=True)
class SegmentOptions:
    """What the Transformer-XL decoder can be told (Dai et al. 2019, arXiv 1901.02860).

    Lengths are in subwords.
    """

    segment_len: int = option(
        32, "positions of a segment; a target longer than that is processed segment by segment"
    )
    mem_len: int = option(32, "positions before a segment that it sees as memory")
    eval_mem_len: int = option(
        -1, "the same outside of training (validation, scoring, decoding); -1: as in training"
    )
    memory_layers: str = option(
        "all",
        "layers that have a memory, numbers from 0 such as 0,3,5, or all; the others see their"
        " segment alone",
    )
    clamp_len: int = option(0, "distances beyond this count as this; 0 means no limit")
    same_length: bool = option(
        False, "let every position see as many others: those before it in reach of the memory"
    )
    position_keys: str = option(
        "sinusoidal",
        "how distance counts: sinusoidal (projected sinusoids with the biases u and v, the paper's"
        " four terms) or learned (a key for each distance, no biases; Shaw et al. 2018)",
        choices=("sinusoidal", "learned"),
    )
    max_distance: int = option(64, "largest distance with a learned key of its own")

    def __post_init__(self) -> None:
        _one_of_choices(self, "position_keys")
        _at_least(1, self, "segment_len")
        _at_least(0, self, "mem_len", "clamp_len", "max_distance")
        _at_least(-1, self, "eval_mem_len")
        if self.clamp_len > 0 and self.position_keys == "learned":
            raise ValueError(
                f"{flag('clamp_len')} is {self.clamp_len}: it has to be 0 with learned position"
                f" keys, which {flag('max_distance')} limits"
            )
        if self.same_length and any(self.reach(training) == 0 for training in (True, False)):
            raise ValueError(
                f"{flag('mem_len')} is 0: it has to be at least 1 with {flag('same_length')}"
            )

    def memory(self, training: bool) -> int:
        """Positions of the memory."""
        return self.mem_len if training or self.eval_mem_len < 0 else self.eval_mem_len

    def reach(self, training: bool) -> int:
        """Entries of all memories together."""
        return self.memory(training)


@dataclass(frozen=True)
class CompressiveOptions(SegmentOptions):
    """What the Compressive decoder can be told (Rae et al. 2019, arXiv 1911.05507)."""

    cmem_len: int = option(16, "compressed states that a segment sees before its memory")
    eval_cmem_len: int = option(-1, "the same outside of training; -1: as in training")
    compression_rate: int = option(4, "old states that become one compressed state")
    compression: str = option(
        "conv",
        "what makes one state of several: {choices}",
        choices=_compressions,
    )
    compression_loss: str = option(
        "reconstruction",
        "what teaches a function with parameters: reconstruction (attention over compressed states"
        " must give what attention over the old ones gave), auto-encoding (the old states must be"
        " recoverable), both with --criterion memtx_compression; or bptt (the main loss alone)",
        choices=("reconstruction", "auto-encoding", "bptt"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of_choices(self, "compression", "compression_loss")
        _at_least(1, self, "compression_rate")
        _at_least(0, self, "cmem_len")
        _at_least(-1, self, "eval_cmem_len")
        if self.compression_loss == "auto-encoding" and not self.has_loss:
            raise ValueError(
                f"{flag('compression_loss')} is {self.compression_loss}: leave it out with"
                f" {flag('compression')} {self.compression}, which has nothing to learn"
            )
        if self.segment_len % self.compression_rate != 0:
            raise ValueError(
                f"{flag('segment_len')} is {self.segment_len}: it has to be a multiple of"
                f" {flag('compression_rate')} {self.compression_rate}"
            )
        for name in ("mem_len", "eval_mem_len"):
            length = getattr(self, name)
            if self.uses_attention and (length == 0 or length % self.segment_len != 0):
                if name == "eval_mem_len" and length == -1:
                    continue
                raise ValueError(
                    f"{flag(name)} is {length}: it has to be a multiple of {flag('segment_len')}"
                    f" {self.segment_len} with {flag('compression')} {self.compression}"
                )

    def compressed(self, training: bool) -> int:
        """Compressed states in view."""
        return self.cmem_len if training or self.eval_cmem_len < 0 else self.eval_cmem_len

    def reach(self, training: bool) -> int:
        return self.memory(training) + self.compressed(training)

    @property
    def has_loss(self) -> bool:
        """Whether the compression function learns from a loss of its own."""
        learned = _compressions()[self.compression].is_learned
        return learned and self.compression_loss != "bptt"

    @property
    def uses_attention(self) -> bool:
        """Whether the compression function needs the attention that each state has received."""
        return _compressions()[self.compression].uses_attention


@dataclass(frozen=True)
class EncoderOptions:
    """What the encoder of a model with a memory decoder can be told."""

    encoder_memory: int = option(
        0,
        "positions of the source sentences before, of the same document, that each layer of the"
        " encoder sees too, by relative positions in place of absolute ones (--task"
        " memtx_document_translation carries them from sentence to sentence); 0 means fairseq's"
        " encoder, which sees the sentence alone",
    )

    def __post_init__(self) -> None:
        _at_least(0, self, "encoder_memory")


@dataclass(frozen=True)
class LengthOptions:
    """The curriculum over sequence lengths, which count the end symbol."""

    length_schedule: str = option(
        "none",
        "how the longest length allowed grows with the updates: linear, root (like the square"
        " root), stages (in equal steps), competence (the share of the data grows like the square"
        " root; Platanios et al. 2019), or none: all lengths from the start",
        choices=("none", "linear", "root", "stages", "competence"),
    )
    length_mode: str = option(
        "order",
        "what happens to longer pairs while the schedule runs: order (they come later in the"
        " epoch), filter (they are left out, and shorter ones repeated), prefix (their targets are"
        " cut)",
        choices=("order", "filter", "prefix"),
    )
    length_by: str = option(
        "target",
        "the length of a pair: that of its target, its source, or the longer of both",
        choices=("target", "source", "both"),
    )
    length_unit: str = option(
        "subwords",
        "what start, end and step count: subwords; segments of a decoder that works in them: the"
        " limit is then always a whole number of segments; or, with --task"
        " memtx_document_translation, sentences that gradients go back through, up to"
        " --memtx-unroll",
        choices=("subwords", "segments", "sentences"),
    )
    length_start: int = option(
        0, "length at the first update; 0 means the shortest that allows a hundredth of the pairs"
    )
    length_end: int = option(
        0, "length just before all are allowed; 0 means that of the longest pair"
    )
    length_updates: int = option(
        0, "updates until all lengths are allowed; 0 means as many as the first epoch has"
    )
    length_step: int = option(1, "the length grows by multiples of this")
    length_stages: int = option(4, "number of lengths of the schedule `stages`")

    def __post_init__(self) -> None:
        _one_of_choices(self, "length_schedule", "length_mode", "length_by", "length_unit")
        _at_least(0, self, "length_start", "length_end", "length_updates")
        _at_least(1, self, "length_step")
        _at_least(2, self, "length_stages")
        if 0 < self.length_end < self.length_start:
            raise ValueError(
                f"{flag('length_end')} is {self.length_end}: it has to be at least"
                f" {flag('length_start')} {self.length_start}"
            )
        if self.length_mode == "prefix" and self.length_by != "target":
            raise ValueError(
                f"{flag('length_by')} is {self.length_by}: it has to be target with"
                f" {flag('length_mode')} prefix, which cuts targets"
            )
        if self.length_unit == "segments" and self.length_by != "target":
            raise ValueError(
                f"{flag('length_by')} is {self.length_by}: it has to be target with"
                f" {flag('length_unit')} segments, which are those of targets"
            )
        if self.length_schedule == "none":
            others = [item.name for item in fields(self) if item.name != "length_schedule"]
            _left_out(self, f"without {flag('length_schedule')}", *others)
        elif self.length_schedule != "stages":
            _left_out(self, f"without {flag('length_schedule')} stages", "length_stages")


#: The exponent of a hypothesis' length, at most: the power must stay within float32.
MOST_LENPEN = 10.0


def check_lenpen(value: float) -> None:
    """Refuse a length penalty that cannot be computed with.

    Raises:
        UserError: beyond `MOST_LENPEN`, or not a number.
    """
    if not abs(value) <= MOST_LENPEN:
        raise UserError(f"--lenpen is {value}: it has to be from {-MOST_LENPEN} to {MOST_LENPEN}")


@dataclass(frozen=True)
class ComputeOptions:
    """Of how a training computes, whatever model it trains."""

    cpu_math: str = option(
        "torch",
        "how a training on a CPU computes: torch (as torch does), float32 (each matrix product by"
        " the library that a short trial finds to be the fastest, faster dropout masks, the"
        " optimizer adam in one pass; the same up to rounding), or bfloat16 (products in bfloat16,"
        " for processors that have it; parameters, optimizer, softmax and loss in float32)",
        choices=("torch", "float32", "bfloat16"),
    )
    loss: str = option(
        "pieces",
        "how cross entropy is computed: pieces (over tokens, in little memory) or whole (as fairseq"
        " does); the same up to rounding",
        choices=("pieces", "whole"),
    )

    def __post_init__(self) -> None:
        _one_of_choices(self, "cpu_math", "loss")


@dataclass(frozen=True)
class GeneratorOptions:
    """How translations are searched for, and with which weights."""

    generator: str = option(
        "fairseq",
        "what searches for translations: fairseq (its own generator), fast (ours, which finds the"
        " same in less time) or cuda-graphs (the same on a GPU that runs the steps without the"
        " host; what it cannot do, fast does, and the log says why)",
        choices=("fairseq", "fast", "cuda-graphs"),
    )
    shortlist: str = option(
        "",
        "file of `memtx shortlist`: look only at the likely translations of each batch's words",
    )
    int8: bool = option(
        False, "round the weights of linear layers to eight bits when a model is loaded; CPU only"
    )
    native: str = option(
        "on",
        "whether the generator fast searches by the native engine where it can, on a CPU: on, or"
        " off for PyTorch alone; what it cannot do, PyTorch does, and the log says why",
        choices=("on", "off"),
    )

    def __post_init__(self) -> None:
        _one_of_choices(self, "generator", "native")
        if self.shortlist and self.generator != "fast":
            raise ValueError(
                f"{flag('generator')} is {self.generator}: it has to be fast with"
                f" {flag('shortlist')}"
            )


@dataclass(frozen=True)
class WarmStartOptions:
    """Which weights of a trained Transformer a training starts from."""

    init_from: str = option(
        "", "checkpoint of a fairseq Transformer whose weights this model starts from"
    )
    init_layers: str = option(
        "spread",
        "its decoder layers that feed ours: spread (evenly, the last one included), first, last, or"
        " as many numbers from 0 as there are layers here, such as 1,3,5",
    )
    init_memory: str = option(
        "average",
        "where a key and value projection that several layers share comes from: average (of the"
        " decoder layers that feed ours) or the number from 0 of one decoder layer",
    )

    def __post_init__(self) -> None:
        if not self.init_from:
            _left_out(self, f"without {flag('init_from')}", "init_layers", "init_memory")


@dataclass(frozen=True)
class DocumentOptions:
    """How documents are read and translated, with memory carried from sentence to sentence."""

    lanes: int = option(
        0,
        "documents that are open at once on each rank, of which a batch takes those whose next"
        " sentences are about as long; 0 means eight for each sentence of a usual batch",
    )
    unroll: int = option(
        1,
        "training: sentences of a document that gradients go back through, and by which it advances"
        " in a batch; with 1 they end with the sentence",
    )
    context: int = option(
        -1,
        "translating: sentences of its document before a sentence that its memory is made of, to"
        " see how far it reaches; 0 means none, -1 all",
    )
    gold_context: bool = option(
        False, "translating: the memory is that of the references, not of the translations"
    )

    def __post_init__(self) -> None:
        _at_least(0, self, "lanes")
        _at_least(1, self, "unroll")
        _at_least(-1, self, "context")


def flag(name: str) -> str:
    """The flag of the field `name`."""
    return "--" + (PREFIX + name).replace("_", "-")


def _at_least(least: int, options: Any, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value < least:
            raise ValueError(f"{flag(name)} is {value}: it has to be at least {least}")


def _left_out(options: Any, when: str, *names: str) -> None:
    for item in fields(options):
        value = getattr(options, item.name)
        if item.name in names and value != item.default:
            raise ValueError(f"{flag(item.name)} is {value}: leave it out {when}")


def _one_of_choices(options: Any, *names: str) -> None:
    for item in fields(options):
        if item.name not in names:
            continue
        choices, value = choices_of(item) or (), getattr(options, item.name)
        if value not in choices:
            raise ValueError(
                f"{flag(item.name)} is {value}: it has to be one of {', '.join(choices)}"
            )


def add_flags(parser: argparse.ArgumentParser, options: type) -> None:
    """Add a flag for each field of the dataclass `options`.

    No default is set on the parser, so that an architecture or a checkpoint may set it instead.
    """
    for item in fields(options):
        parser.add_argument(
            flag(item.name),
            default=argparse.SUPPRESS,
            help=f"{help_of(item)} (default: {item.default})",
            **_kind_of_flag(item),
        )


def _kind_of_flag(item: Field) -> dict[str, Any]:
    if isinstance(item.default, bool):
        return {"action": "store_true"}
    return {"type": type(item.default), "choices": choices_of(item)}


def from_namespace(args: Any, options: type[Options]) -> Options:
    """Read `options` from fairseq's settings; what they lack (an older checkpoint) has its default.

    Raises:
        UserError: where a value is impossible; the message names the flag.
    """
    given = {
        item.name: getattr(args, PREFIX + item.name, None)
        for item in fields(options)  # type: ignore[arg-type]
    }
    try:
        return options(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UserError(str(error)) from None
