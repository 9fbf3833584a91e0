"""The systems whose decoding is compared: a checkpoint and how it is decoded.

A mode is words joined by ``+``: ``plain`` (fairseq's generator), ``fast`` (ours), ``graph`` (ours
in CUDA graphs, on a GPU) or ``ct2`` (CTranslate2, which its own converter makes a model for).
``int8`` may follow, on a GPU after ``ct2`` alone, and ``shortlist`` after ``fast`` and ``ct2``.
CTranslate2 knows fairseq's Transformer alone, ``graph`` that and the Feedback decoder.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.decoders import DECODERS, name_of
from fairseq_memtx.ground import command_line, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers
from scripts.bench_decoding import memory as decoding_memory
from scripts.shared import measure

if TYPE_CHECKING:
    import torch

#: The first word of a mode, and those that may follow.
MODES = {
    "plain": ("int8",),
    "fast": ("int8", "shortlist"),
    "graph": (),
    "ct2": ("int8", "shortlist"),
}
#: Of all runs of an experiment, unless others are named.
DEFAULT_MODES = {"cpu": ("plain", "fast", "ct2"), "cuda": ("plain", "fast", "graph", "ct2")}
#: What must hold for a decoder where a mode does not take all of them.
LIMITED = {
    "ct2": lambda entry: entry.is_stock,
    "graph": lambda entry: entry.runs_fused and not entry.is_segmented,
}
#: Our name of a precision, fairseq-generate's flags for it and CTranslate2's name.
PRECISIONS = {
    "float32": ([], "float32"),
    "bf16": (["--bf16"], "bfloat16"),
    "fp16": (["--fp16"], "float16"),
}


@dataclass(frozen=True)
class Spec:
    """A system as the command line names it."""

    name: str
    checkpoint: Path
    mode: tuple[str, ...]

    @property
    def mode_name(self) -> str:
        """Its mode in one word."""
        return "+".join(self.mode)

    def flags(self, shortlist: Path | None) -> list[str]:
        """fairseq-generate's flags for the mode."""
        if self.mode[0] == "ct2":
            return []
        generator = {"fast": "fast", "graph": "cuda-graphs"}.get(self.mode[0])
        flags = [] if generator is None else ["--memtx-generator", generator]
        flags += ["--memtx-int8"] if "int8" in self.mode else []
        return flags + (["--memtx-shortlist", str(shortlist)] if "shortlist" in self.mode else [])


def spec(text: str) -> Spec:
    """An argument type: ``NAME=CHECKPOINT[:MODE]``."""
    name, equals, rest = text.partition("=")
    path, colon, mode = rest.rpartition(":")
    path, mode = (path, mode) if colon else (rest, "plain")
    words = mode_words(mode)
    if not (name and equals and path and words):
        raise argparse.ArgumentTypeError(
            f"{text} is not NAME=CHECKPOINT[:MODE] with MODE plain, fast, graph or ct2, where +int8"
            " may follow but after graph, and +shortlist after fast and ct2"
        )
    return Spec(name, Path(path), words)


def mode_words(mode: str) -> tuple[str, ...]:
    """The words of a mode; none for what is no mode."""
    first, *others = mode.split("+")
    known = first in MODES and set(others) <= set(MODES[first]) and len(set(others)) == len(others)
    return (first, *others) if known else ()


def modes(text: str) -> tuple[str, ...]:
    """An argument type: modes separated by commas."""
    names = command_line.comma_list(text)
    for name in names:
        if not mode_words(name):
            raise argparse.ArgumentTypeError(f"{name} is not a mode such as plain or fast+int8")
    return names


def of_runs(runs: Path, modes: Sequence[str]) -> list[Spec]:
    """All finished runs of an experiment in these modes, where a mode knows the decoder.

    Raises:
        UserError: where no run is finished.
    """
    found = sorted(runs.glob("*-d*-s*/averaged.pt"))
    if not found:
        raise UserError(f"`{runs}` holds no finished runs of an experiment")
    return [
        Spec(f"{path.parent.name} {mode}", path, words)
        for path in found
        for mode in modes
        if knows(words := mode_words(mode), path.parent.name.rpartition("-d")[0])
    ]


def knows(words: Sequence[str], decoder: str) -> bool:
    """Whether a mode is one for this decoder of an experiment."""
    return words[0] not in LIMITED or (decoder in DECODERS and LIMITED[words[0]](DECODERS[decoder]))


def loaders(
    specs: Sequence[Spec], data_bin: Path, flags: Sequence[str], shortlist: Path | None
) -> dict[str, measure.Loader]:
    """What loads each system, by its name; one for all that have the same flags."""
    words = ["--user-dir", str(shell.USER_DIR), "--task", shell.TASK, *flags]
    made: dict[str, measure.Loader] = {}
    for one in specs:
        own = one.flags(shortlist)
        if str(own) not in made:
            made[str(own)] = measure.Loader(data_bin, [*words, *own])
    return {one.name: made[str(one.flags(shortlist))] for one in specs}


def load(
    specs: Sequence[Spec],
    loaders: Mapping[str, measure.Loader],
    data_bin: Path,
    shortlist: Path | None,
    threads: int,
    dtype: str = "float32",
) -> tuple[list[measure.System], list[dict]]:
    """Load all systems; beside each what a record says of it.

    Raises:
        UserError: for a model that its mode does not know.
    """
    systems, facts = [], []
    for one in specs:
        loader = loaders[one.name]
        before = decoding_memory.held_bytes(loader.cuda)
        system = loader.load(one.name, one.checkpoint)
        described = describe(system, one)
        if one.mode[0] == "ct2":
            allowed = shortlist if "shortlist" in one.mode else None
            rival = CTranslate2System.convert(
                system, one, data_bin, loader, threads, allowed, dtype
            )
            system, before = rival, rival.bytes_before
        with rivals_errors(one) if one.mode[0] == "ct2" else nullcontext():
            measure.warm_up(system, measure.make_batches(system, 1, 1))  # prepares weights
        check_graphs(system, one)
        described["loaded_bytes"] = decoding_memory.growth(
            before, decoding_memory.held_bytes(system.cuda)
        )
        systems.append(system)
        facts.append(described)
    return systems, facts


def check_graphs(system: measure.System, one: Spec) -> None:
    """Refuse a system that is to search in graphs, and has not."""
    if one.mode[0] == "graph" and system.generator.graphs.decoder is None:
        raise UserError(f"`{one.name}` did not search in graphs: the log says why")


def describe(system: measure.System, one: Spec) -> dict[str, Any]:
    """The model of a system."""
    model = system.model
    return {
        "name": one.name,
        "checkpoint": told(one.checkpoint),
        "mode": one.mode_name,
        "architecture": name_of(model.decoder),
        "encoder_layers": model.encoder.num_layers,
        "depth": model.decoder.num_layers,
        "dim": model.decoder.embed_dim,
        "vocabulary": len(system.task.target_dictionary),
    }


def told(checkpoint: Path) -> str:
    """A checkpoint without this machine's folders; its own folder stays, since those of several
    models have one name.
    """
    name = shell.relative(str(checkpoint))
    return f"{checkpoint.parent.name}/{name}" if name == checkpoint.name else name


@contextmanager
def rivals_errors(one: Spec) -> Iterator[None]:
    """Tell in one line what CTranslate2 cannot convert or, for want of a library, run."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        raise UserError(
            f"`{one.checkpoint}` cannot be converted or run by CTranslate2, leave the mode"
            f" {one.mode_name} out: {problem}"
        ) from None


class CTranslate2System(measure.System):
    """A converted Transformer; ``task`` is that of the model it was made from, which is let go."""

    translator: Any
    search_settings: Any
    has_shortlist: bool = False
    bytes_before: int | None = None  # held by the process before it was loaded

    @classmethod
    def convert(
        cls,
        system: measure.System,
        one: Spec,
        data_bin: Path,
        loader: measure.Loader,
        threads: int,
        shortlist: Path | None,
        dtype: str,
    ) -> CTranslate2System:
        """Convert a checkpoint in a temporary folder and load it.

        Raises:
            UserError: without CTranslate2, and for what it cannot convert or run.
        """
        try:
            import ctranslate2
        except ImportError:
            raise UserError(
                f"mode `{one.mode_name}` needs CTranslate2: pip install --no-deps ctranslate2"
            ) from None
        precision = rival_precision(one.mode, dtype)
        languages = system.task.cfg.source_lang, system.task.cfg.target_lang
        converter = ctranslate2.converters.FairseqConverter(
            str(one.checkpoint), str(data_bin), *languages
        )
        made = cls(system.name, None, None, system.task, system.decode, system.cuda)
        made.search_settings, made.has_shortlist = loader.config.generation, shortlist is not None
        del system.model, system.generator  # not to be weighed, nor to fill a GPU
        with tempfile.TemporaryDirectory() as folder:
            words = write_vocabulary_map(Path(folder) / "words", shortlist, system.task)
            folder = str(Path(folder) / "model")
            with rivals_errors(one):
                converter.convert(folder, vmap=words, quantization=precision)
                made.bytes_before = None if made.cuda else decoding_memory.held_bytes(False)
                made.translator = ctranslate2.Translator(
                    folder,
                    device="cuda" if made.cuda else "cpu",
                    compute_type=precision,
                    inter_threads=1,
                    intra_threads=threads,
                )
        return made

    def prepare(self, batch: dict) -> Any:
        """The batch's sentences as subwords, without the end, which CTranslate2 adds."""
        dictionary = self.task.source_dictionary
        rows = batch["net_input"]["src_tokens"]
        special = (dictionary.pad(), dictionary.eos())
        words = [
            [dictionary.symbols[word] for word in row if word not in special]
            for row in rows.tolist()
        ]
        return words, rows.size(1)

    def search(self, prepared: Any) -> Any:
        settings, (words, length) = self.search_settings, prepared
        longest = int(settings.max_len_a * length + settings.max_len_b)
        found = self.translator.translate_batch(
            words,
            beam_size=settings.beam,
            length_penalty=settings.lenpen,
            min_decoding_length=settings.min_len,
            max_decoding_length=longest + 1,  # as many steps as fairseq, whose last is the end
            use_vmap=self.has_shortlist,
        )
        return found, longest

    def tokens(self, found: Any) -> list[torch.Tensor]:
        import torch

        dictionary, (results, longest) = self.task.target_dictionary, found
        best = [result.hypotheses[0][:longest] for result in results]
        return [torch.tensor([*map(dictionary.index, line), dictionary.eos()]) for line in best]


def rival_precision(mode: Sequence[str], dtype: str) -> str:
    """CTranslate2's name for the precision of a mode beside ours."""
    _, name = PRECISIONS[dtype]
    if "int8" not in mode:
        return name
    return "int8" if dtype == "float32" else f"int8_{name}"


def write_vocabulary_map(path: Path, shortlist: Path | None, task: Any) -> str | None:
    """A shortlist in CTranslate2's form: a source word, a tab, its targets; none is always."""
    from fairseq_memtx.decoding.shortlist import Shortlist

    if shortlist is None:
        return None
    source, target = task.source_dictionary, task.target_dictionary
    found = Shortlist.load(shortlist, len(source), len(target))
    each = zip(found.translations, source.symbols, strict=True)
    with atomic_writers(path) as (file,):
        for words, key in [(found.always, ""), *each]:
            allowed = [target.symbols[word] for word in words.tolist() if word >= 0]
            file.write(f"{key}\t{' '.join(allowed)}\n".encode())
    return str(path)
