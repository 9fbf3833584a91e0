"""Decoding speed of several models side by side, in one process.

``python -m scripts.shared.measure --data-bin DIR --system A=a.pt --system B=b.pt --out speed.json``

What is timed: fairseq's beam search, ``task.inference_step``, over ready-made batches of sentences
of like length, encoder included. What is not: loading, tokenising, batching, detokenising. Repeats
are interleaved between the systems, in an order that rotates, after a warm-up of each. Words are
those of the detokenised output, split at white space; tokens are subwords, the end of the sentence
included.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from fairseq_memtx.ground.progress import Progress
from scripts.shared.turns import turns

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Clock = Callable[[], float]

WARM_UP_SENTENCES = 16
#: Of all batches, by a search in graphs: room is made at the first sight of a size, and a form of
#: step is recorded at its second.
WARM_UPS_OF_GRAPHS = 3
STATE_STEPS = (8, 40)  # positions between which the decoder's state is weighed


@dataclass
class System:
    """A loaded model with its beam search. ``task`` and ``bpe`` are fairseq's."""

    name: str
    model: Any
    generator: Any
    task: Any
    decode: Any  # a line of subwords -> detokenised text
    cuda: bool = False

    def prepare(self, batch: dict) -> Any:
        """A batch of fairseq's in the form that `search` takes."""
        return batch

    def search(self, prepared: Any) -> Any:
        """What is timed: translate a prepared batch."""
        return self.task.inference_step(self.generator, [self.model], prepared)

    def tokens(self, found: Any) -> list[torch.Tensor]:
        """The best hypothesis (token ids, end of sentence included) of each sentence."""
        return [best[0]["tokens"] for best in found]

    def translate(self, batch: dict) -> list[torch.Tensor]:
        """The best hypothesis of each sentence of a batch of fairseq's."""
        return self.tokens(self.search(self.prepare(batch)))

    def text(self, tokens: torch.Tensor) -> str:
        """Detokenised text of a hypothesis."""
        return self.decode(self.task.target_dictionary.string(tokens.int().cpu()))


@dataclass
class Timing:
    """What was measured of one system at one batch size.

    ``seconds`` has a number for each repeat, ``batch_seconds`` its batches'; ``texts`` is the last
    output.
    """

    batch: int
    lines: int
    seconds: list[float] = field(default_factory=list)
    batch_seconds: list[list[float]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    words: int = 0
    reference_words: int = 0
    tokens: int = 0

    def asdict(self) -> dict:
        """The form in which it is recorded."""
        return {
            "batch": self.batch,
            "lines": self.lines,
            "seconds": [round(value, 4) for value in self.seconds],
            "words": self.words,
            "tokens": self.tokens,
            "length_ratio": round(self.words / max(1, self.reference_words), 3),
            "output_sha256": self.hashes[0],
            "identical_output": len(set(self.hashes)) == 1,
        }


def measure(args: argparse.Namespace) -> dict:
    """Load the systems, measure them at each batch size, and write the result."""
    import torch

    torch.set_num_threads(args.threads)
    systems = load_systems(args)
    result: dict = {system.name: {"speed": []} for system in systems}
    for size in args.batches:
        lines = args.lines_single if size == 1 else args.lines_batched
        for system, timing in time_systems(systems, size, lines, args.repeats):
            result[system.name]["speed"].append(timing.asdict())
    for system in systems:
        result[system.name]["state"] = weigh_state(system)
        precision = str(next(system.model.parameters()).dtype).removeprefix("torch.")
        result[system.name]["precision"] = precision
        result[system.name]["device"] = device_name(system.cuda)
    write_json(args.out, result)
    return result


def load_systems(args: argparse.Namespace) -> list[System]:
    """Load every ``NAME=CHECKPOINT`` as fairseq-generate does, with the same flags."""
    loader = Loader(args.data_bin, args.fairseq_args)
    return [loader.load(name, path) for name, path in args.system]


class Loader:
    """Loads models as fairseq-generate does.

    Args:
        data_bin: fairseq's binarised data.
        flags: fairseq-generate's.
    """

    def __init__(self, data_bin: Path, flags: Sequence[str]) -> None:
        import torch
        from fairseq import options, tasks
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf

        import fairseq_memtx.plugin  # noqa: F401  (registers our models, tasks and flags)

        parser = options.get_generation_parser()
        words = [str(data_bin), *flags, "--path", "unused"]
        self.config = convert_namespace_to_omegaconf(
            options.parse_args_and_arch(parser, input_args=words)
        )
        self.task = tasks.setup_task(self.config.task)
        self.task.load_dataset("test")
        self.tokenizer = self.task.build_tokenizer(self.config.tokenizer)
        self.bpe = self.task.build_bpe(self.config.bpe)
        self.cuda = torch.cuda.is_available() and not self.config.common.cpu

    def decode(self, line: str) -> str:
        """Detokenised text of a line of subwords."""
        line = line if self.bpe is None else self.bpe.decode(line)
        return line if self.tokenizer is None else self.tokenizer.decode(line)

    def load(self, name: str, path: Path) -> System:
        """The model of a checkpoint, with its beam search."""
        from fairseq import checkpoint_utils

        (model,), _ = checkpoint_utils.load_model_ensemble([str(path)], task=self.task)
        model = model.half() if self.config.common.fp16 else model
        model = model.cuda() if self.cuda else model
        model.prepare_for_inference_(self.config)
        generator = self.task.build_generator([model], self.config.generation)
        return System(name, model, generator, self.task, self.decode, self.cuda)


def make_batches(system: System, size: int, lines: int) -> list[dict]:
    """fairseq-generate's batches for the first ``lines`` of the test set, of sentences of like
    length; all but the last have ``size``, also where that is no multiple of 8.
    """
    from fairseq import utils

    dataset = system.task.dataset("test")
    ordered = dataset.ordered_indices()
    groups = dataset.batch_by_size(
        ordered[ordered < lines], max_sentences=size, required_batch_size_multiple=1
    )
    batches = [dataset.collater([dataset[int(i)] for i in group]) for group in groups]
    return [utils.move_to_cuda(batch) for batch in batches] if system.cuda else batches


def time_systems(
    systems: Sequence[System],
    size: int,
    lines: int,
    repeats: int,
    clock: Clock = time.perf_counter,
    label: str = "",
) -> list[tuple[System, Timing]]:
    """Translate the same batches ``repeats`` times by each system, taking turns."""
    batches = make_batches(systems[0], size, lines)
    count = sum(len(batch["id"]) for batch in batches)
    timings = {system.name: Timing(size, count) for system in systems}
    for system in systems:
        warm_up(system, batches)
    total = count * repeats * len(systems)
    with Progress(label or f"batch {size}", total=total, unit="sentences") as progress:
        for system in turns(systems, repeats):
            time_once(system, batches, timings[system.name], progress, clock)
    return [(system, timings[system.name]) for system in systems]


def warm_up(system: System, batches: Sequence[dict]) -> None:
    """Translate some batches, from the middle lengths, without a clock; by graphs all of them."""
    if getattr(system.generator, "graphs", None) is not None:
        for batch in [*batches] * WARM_UPS_OF_GRAPHS:
            system.translate(batch)
        return
    done = 0
    for batch in batches[len(batches) // 2 :]:
        system.translate(batch)
        done += len(batch["id"])
        if done >= WARM_UP_SENTENCES:
            return


def time_once(
    system: System,
    batches: Sequence[dict],
    timing: Timing,
    progress: Progress,
    clock: Clock = time.perf_counter,
) -> None:
    """One repeat: time every batch, then look at the output."""
    outputs: dict[int, torch.Tensor] = {}
    seconds: list[float] = []
    for batch in batches:
        prepared = system.prepare(batch)
        started = _now(system.cuda, clock)
        found = system.search(prepared)
        seconds.append(_now(system.cuda, clock) - started)
        tokens = system.tokens(found)
        outputs |= dict(zip(batch["id"].tolist(), tokens, strict=True))
        progress.add(len(tokens))
    timing.texts = texts = [system.text(outputs[index]) for index in sorted(outputs)]
    timing.seconds.append(sum(seconds))
    timing.batch_seconds.append(seconds)
    timing.hashes.append(hash_of_lines(texts))
    timing.words = sum(len(text.split()) for text in texts)
    timing.tokens = sum(len(tokens) for tokens in outputs.values())
    timing.reference_words = _reference_words(system, batches)


def hash_of_lines(lines: Sequence[str]) -> str:
    """SHA-256 of the text that has these lines."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _reference_words(system: System, batches: Sequence[dict]) -> int:
    from fairseq.utils import strip_pad

    pad = system.task.target_dictionary.pad()
    rows = [strip_pad(row, pad) for batch in batches for row in batch["target"]]
    return sum(len(system.text(row).split()) for row in rows)


def _now(cuda: bool, clock: Clock) -> float:
    if cuda:
        import torch

        torch.cuda.synchronize()
    return clock()


def state_bytes(system: System, batch: dict, steps: int) -> int:
    """Bytes of the incremental state of one hypothesis after ``steps`` positions."""
    import torch

    net_input, decoder = batch["net_input"], system.model.decoder
    state: dict = {}
    with torch.no_grad():
        encoded = system.model.encoder(net_input["src_tokens"], net_input["src_lengths"])
        tokens = net_input["src_tokens"].new_full((1, 1), system.task.target_dictionary.eos())
        decoder.set_beam_size(1)
        for _ in range(steps):
            logits, _ = decoder(tokens, encoder_out=encoded, incremental_state=state)
            tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
    if hasattr(decoder, "incremental_state_bytes"):
        return decoder.incremental_state_bytes(state)
    return _tensor_bytes(state)


def weigh_state(
    system: System, weigh: Callable[[System, dict, int], int] = state_bytes
) -> dict[str, float]:
    """Bytes that decoding keeps for each position of one hypothesis: the target's (grows with
    every token) and the source's (keys and values of the encoder's output, laid out once).

    Args:
        system: it.
        weigh: bytes for a batch after so many positions.
    """
    batch = make_batches(system, 1, 1)[0]
    source = batch["net_input"]["src_tokens"].size(1)
    short, long = (weigh(system, batch, steps) for steps in STATE_STEPS)
    for_token = (long - short) / (STATE_STEPS[1] - STATE_STEPS[0])
    fixed = short - STATE_STEPS[0] * for_token
    return {"bytes_per_token": for_token, "bytes_per_source_token": round(fixed / source, 1)}


def _tensor_bytes(value: object) -> int:
    """Bytes of all tensors in nested dictionaries."""
    import torch

    if isinstance(value, dict):
        return sum(_tensor_bytes(item) for item in value.values())
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


@contextmanager
def models_errors() -> Iterator[None]:
    """Tell errors of `fairseq_memtx` that a user can mend as our own are told."""
    from fairseq_memtx.ground.errors import UserError as ModelError

    try:
        yield
    except ModelError as error:
        raise UserError(str(error)) from error


def device_name(cuda: bool) -> str:
    """``cpu``, or the accelerator's name."""
    if not cuda:
        return "cpu"
    import torch

    return torch.cuda.get_device_name()


def named_path(text: str) -> tuple[str, Path]:
    """An argument type: ``NAME=PATH`` of a checkpoint that is there."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=CHECKPOINT")
    return name, Path(path)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.shared.measure``."""
    parser = argparse.ArgumentParser(
        prog="scripts.shared.measure", description=__doc__.split("\n")[0]
    )
    add, whole = parser.add_argument, command_line.positive_int
    add("--data-bin", type=Path, required=True, help="fairseq's binarised data")
    add("--system", type=named_path, action="append", required=True, help="NAME=CHECKPOINT; repeat")
    add("--out", type=Path, required=True, help="JSON file to write")
    add("--batches", type=command_line.int_list, default=(1, 32), help="sentences in a batch")
    add("--lines-single", type=whole, default=100, help="lines to translate one at a time")
    add("--lines-batched", type=whole, default=1000, help="lines to translate in larger batches")
    add("--repeats", type=whole, default=5, help="times that each system translates them")
    add("--threads", type=whole, default=1, help="threads for torch")
    add(
        "--fairseq-args",
        nargs=argparse.REMAINDER,
        default=[],
        help="last: fairseq-generate's flags",
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be measured before anything heavy is imported."""
    for name, path in args.system:
        if not path.is_file():
            raise UserError(f"there is no checkpoint `{path}` of `{name}`: check the path")
    if not any(args.data_bin.glob("test.*.idx")):
        raise UserError(f"`{args.data_bin}` holds no binarised test set")
    names = [name for name, _ in args.system]
    if len(set(names)) < len(names):
        raise UserError(f"`--system` has the same name twice: {', '.join(names)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.shared.measure``."""
    args = parse_args(argv)

    def work() -> None:
        check(args)
        with warnings.catch_warnings():
            # fairseq uses Hydra and torch in ways that they discourage: nothing to be done here
            warnings.simplefilter("ignore")
            with models_errors():
                measure(args)

    return command_line.run(work)


if __name__ == "__main__":
    raise SystemExit(main())
