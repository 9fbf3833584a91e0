"""Speed and state of a sentence by how much of its document stands before it.

``python -m scripts.studies.document_lengths [--before 0,1,2,10] [--out results/documents-lengths]``

Decoders that carry a memory translate a document sentence by sentence, and every sentence has all
those before it as context. Concatenation, beside them, gets its context by translating the
sentences before once more with each one, as one text of which the last sentence counts. Untrained
models write translations of forced length: what is computed does not depend on what they have
learnt.

Each system is one line of ``lengths.jsonl``; ``lengths.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import command_line
from scripts.bench_decoding import untrained
from scripts.shared import benchmark, publishing
from scripts.shared.benchmark import add_record, markdown
from scripts.studies.pronouns.configs import TRAININGS
from scripts.studies.segments.decoding import state_bytes

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

SCHEMA = 1
NAME = "lengths"
OUT = Path("results/documents-lengths")
BEFORE = (0, 1, 2, 10, 30, 100)
WORDS, LAYERS, SIZE, VOCAB, BEAM, ROUNDS = 20, 2, "small", 4000, 5, 7
CARRIED, CONCATENATED = ("transformer-xl", "compressive", "feedback"), "concatenated"
SYSTEMS = (*CARRIED, CONCATENATED)
#: What searches, by `--native`.
SEARCHED = {"on": "the native engine", "off": "PyTorch"}


class System:
    """An untrained model and its search.

    Args:
        name: of the system.
        folder: for its files.
        size: a name of `untrained.SIZES`.
        longest: words of a text, at most.
    """

    def __init__(self, name: str, folder: Path, size: str, longest: int):
        from fairseq_memtx.translation.checkpoints import load_models

        training = None if name == CONCATENATED else TRAININGS[name]
        arch = "transformer" if training is None else DECODERS[training.decoder].architecture
        flags = [*untrained.SIZES[size], *(() if training is None else training.flags)]
        for side in ("encoder", "decoder"):
            flags.append(f"--{side}-layers={LAYERS}")
        for side in ("source", "target"):
            flags.append(f"--max-{side}-positions={longest}")
        data, path = folder / "bin", folder / f"{name}.pt"
        data.mkdir(exist_ok=True)
        untrained.write_corpus(data, VOCAB, 1, WORDS, 1)
        untrained.write_model(path, data, arch, flags, 1)
        self.models, self.cfg, self.task = load_models([path], data)
        self.model = self.models[0].eval()
        self.model.prepare_for_inference_(self.cfg)

    def generator(self, words: int, beam: int = BEAM, native: str = "off") -> Any:
        """The fast generator, whose translations have exactly so many words."""
        from omegaconf import open_dict

        from fairseq_memtx.config import GeneratorOptions
        from fairseq_memtx.generation.generator import FastGenerator
        from fairseq_memtx.generation.search import own_settings

        with open_dict(self.cfg.generation):
            self.cfg.generation.update(beam=beam, max_len_a=0, max_len_b=words, min_len=words)
        dictionaries = self.task.source_dictionary, self.task.target_dictionary
        own = own_settings(GeneratorOptions("fast", native=native), *dictionaries)
        return self.task.build_generator(self.models, self.cfg.generation, FastGenerator, own)

    def sentence(self, words: int) -> Tensor:
        """Random words and the end symbol, `(1, words + 1)`."""
        import torch

        drawn = torch.randint(untrained.SYMBOLS, VOCAB, (1, words))
        end = self.task.source_dictionary.eos()
        return torch.cat([drawn, torch.full((1, 1), end)], dim=1)

    def bytes_of(self, words: int, memory: Any = None) -> int:
        """Bytes that decoding holds for one hypothesis after so many words, after a memory."""
        import torch

        with torch.inference_mode():
            source = self.sentence(words)
            encoder_out = self.model.encoder(source, src_lengths=torch.tensor([words + 1]))
            prefix, state = self.sentence(words).roll(1, dims=1), {}  # type: ignore[var-annotated]
            options = {} if memory is None else {"memory": memory}
            for length in range(1, words + 1):
                self.model.decoder(
                    prefix[:, :length], encoder_out, state, features_only=True, **options
                )
        return state_bytes(self.model.decoder, state)


def carried(system: System, before: Sequence[int], native: str) -> list[dict]:
    """A document sentence by sentence: seconds of those after each number of others, and state."""
    from fairseq_memtx.generation.documents import DocumentSearch, Reader, Sentences
    from fairseq_memtx.modules.lane_memory import LaneMemories, LaneRow

    reader = Reader(system.models, system.task.source_dictionary.pad())
    search = DocumentSearch(system.generator(WORDS, native=native), system.models, reader)
    search.translate(batch(system.sentence(WORDS)), [LaneRow(1, 0, -1)])  # prepares the weights
    rows = [LaneRow(0, number, number - 1) for number in range(max(before) + ROUNDS)]
    memories, seconds, held = LaneMemories(), [], {}
    for row in rows:
        source = system.sentence(WORDS)
        seconds.append(timed(lambda x, at: search.translate(batch(x), [at]), source, row))
        if row.sentence in before:
            memory = memories.read(id(system.model), [row])
            held[row.sentence] = system.bytes_of(WORDS, memory)
        reader.read(Sentences([row], [source[0]], [source[0].roll(1)]), memories)
    return [
        {"before": number, "seconds": seconds[number : number + ROUNDS], "bytes": held[number]}
        for number in before
    ]


def concatenated(system: System, before: Sequence[int], native: str) -> list[dict]:
    """As many sentences and one more as one text, a symbol between them: seconds and state."""
    found = []
    for number in before:
        words = WORDS + number * (WORDS + 1)
        generator = system.generator(words, native=native)
        seconds = [
            timed(
                lambda x, search: search.generate(system.models, {"net_input": batch(x)}),
                system.sentence(words),
                generator,
            )
            for _ in range(1 + ROUNDS)  # the first prepares the weights
        ]
        found.append({"before": number, "seconds": seconds[1:], "bytes": system.bytes_of(words)})
    return found


def timed(step: Any, *args: Any) -> float:
    """Processor seconds of a step."""
    import torch

    with torch.inference_mode():
        start = time.process_time()
        step(*args)
        return round(time.process_time() - start, 5)


def batch(source: Tensor) -> dict[str, Tensor]:
    """fairseq's arguments of a model, of one source."""
    import torch

    return {"src_tokens": source, "src_lengths": torch.tensor([source.size(1)])}


def bench(name: str, before: Sequence[int], size: str = SIZE, native: str = "on") -> dict:
    """The record of one system."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    made = benchmark.provenance("studies.document_lengths", threads=1)
    measure = concatenated if name == CONCATENATED else carried
    longest = (WORDS + 1) * (max(before) + 1) + 8
    with tempfile.TemporaryDirectory() as folder:
        found = measure(System(name, Path(folder), size, longest), before, native)
    for one in found:
        logger.info("%s, %d before: %.3f s, %d bytes", name, one["before"],
                    median(one["seconds"]), one["bytes"])  # fmt: skip
    sizes = {"size": size, "layers": LAYERS, "vocab": VOCAB, "words": WORDS, "beam": BEAM}
    flags = [] if name == CONCATENATED else list(TRAININGS[name].flags)
    return {"schema": SCHEMA, "system": name, "sizes": sizes, "flags": flags, "native": native,
            "after": found, **made}  # fmt: skip


def table(found: Sequence[dict]) -> str:
    """One row a system: words a second and bytes after each number of sentences."""
    first, sizes = found[0], found[0]["sizes"]
    rounds = len(first["after"][0]["seconds"])
    head = ["system"]
    for one in first["after"]:
        head += [f"{one['before']} before: words/s", f"{one['before']} before: KiB"]
    rows = []
    for record in found:
        cells = [record["system"]]
        for one in record["after"]:
            cells += [rate(one["seconds"], sizes["words"]), f"{one['bytes'] / 1024:,.0f}"]
        rows.append(cells)
    told = {record["system"]: " ".join(record["flags"]) for record in found if record["flags"]}
    lines = [
        "# A sentence by what stands before it in its document",
        "",
        *markdown(head, rows, words=1),
        "",
        f"- words/s: of the sentence itself, median (least-most) of {rounds} sentences of"
        f" {sizes['words']} words, one at a time, beam {sizes['beam']}; with what is"
        " read to leave the memory for the next one. Its context is all that stands before it:"
        " carried as a memory of bounded size, or, `concatenated`, translated once more with it as"
        " one text. With k sentences as one, as is usual, the column is that of k - 1.",
        "- KiB: what decoding by PyTorch holds for one hypothesis at the end of the sentence, the"
        " keys and values of the source included.",
        f"- Untrained models, width `{sizes['size']}` of `scripts.bench_decoding.untrained`,"
        f" {sizes['layers']} encoder and decoder layers, {sizes['vocab']:,} words; the fast"
        f" generator by {SEARCHED[first['native']]}; reading for the next memory is PyTorch's. "
        + "; ".join(f"{name}: `{words}`" for name, words in told.items()),
        f"- {benchmark.conditions(first)}.",
    ]
    return "\n".join([*lines, ""])


def rate(seconds: Sequence[float], words: int) -> str:
    """Words a second: median (least-most)."""
    rates = [words / one for one in seconds]
    return f"{median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"


def measure_all(args: argparse.Namespace) -> None:
    """Measure all systems."""
    publishing.check_checkout(args.out)
    for name in SYSTEMS:
        add_record(
            args.out / f"{NAME}.jsonl",
            bench(name, sorted(args.before), args.size, args.native),
            "system",
        )


def run(args: argparse.Namespace) -> None:
    """Measure unless the records there are shall do, then make the page."""
    if not args.table_only:
        measure_all(args)
    benchmark.write_page(args.out, NAME, table)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.document_lengths``."""
    parser = argparse.ArgumentParser(
        prog="scripts.studies.document_lengths", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--before", type=numbers, default=BEFORE, help="sentences before, such as 0,1,10")
    add("--size", choices=untrained.SIZES, default=SIZE, help="width of all layers")
    add("--native", choices=SEARCHED, default="on", help="search by the native engine, or not")
    add("--out", type=Path, default=OUT, help=f"folder; default: {OUT}")
    add("--table-only", action="store_true", help="make the page from the records there are")
    return parser.parse_args(argv)


def numbers(text: str) -> tuple[int, ...]:
    """An argument type: whole numbers from 0, a comma between them."""
    found = command_line.comma_list(text)
    if not all(number.isdecimal() for number in found):
        raise argparse.ArgumentTypeError(f"{text} is not such as 0,1,10")
    return tuple(map(int, found))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.document_lengths``."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    return command_line.run(lambda: run(args))


if __name__ == "__main__":
    raise SystemExit(main())
