"""The systems whose decoding is compared: a checkpoint and how it is decoded.

A mode is words joined by ``+``: ``plain`` (fairseq's generator), ``fast`` (ours) or ``ct2``
(CTranslate2, which its own converter makes a model for), with ``int8`` and, but for ``plain``,
``shortlist``. CTranslate2 knows fairseq's Transformer alone.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from scripts import command_line, commands, measure
from scripts.benchmark import memory_line

if TYPE_CHECKING:
    import torch

MODES = ("plain", "fast", "ct2")
STATE_STEPS = measure.STATE_STEPS


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
        flags = ["--memtx-generator", "fast"] if "fast" in self.mode else []
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
            "must be NAME=CHECKPOINT[:MODE] with MODE plain, fast or ct2, where +int8 and, but"
            f" after plain, +shortlist may follow, but is {text}"
        )
    return Spec(name, Path(path), words)


def mode_words(mode: str) -> tuple[str, ...]:
    """The words of a mode; none for what is no mode."""
    words = tuple(mode.split("+"))
    known = words[0] in MODES and all(word in ("int8", "shortlist") for word in words[1:])
    return words if known and not ("shortlist" in words and words[0] == "plain") else ()


def modes(text: str) -> tuple[str, ...]:
    """An argument type: modes separated by commas."""
    names = command_line.comma_list(text)
    for name in names:
        if not mode_words(name):
            raise argparse.ArgumentTypeError(f"must be such as plain,fast+int8, but is {text}")
    return names


def of_runs(runs: Path, modes: Sequence[str]) -> list[Spec]:
    """All finished runs of an experiment in these modes; those of CTranslate2 for Transformers.

    Raises:
        UserError: where no run is finished.
    """
    found = sorted(runs.glob("*-d*-s*/averaged.pt"))
    if not found:
        raise UserError(f"`{runs}` must hold finished runs of an experiment, but holds none")
    return [
        Spec(f"{path.parent.name} {mode}", path, mode_words(mode))
        for path in found
        for mode in modes
        if not mode.startswith("ct2") or path.parent.name.startswith("transformer-d")
    ]


def load(
    specs: Sequence[Spec],
    data_bin: Path,
    flags: Sequence[str],
    shortlist: Path | None,
    threads: int,
) -> tuple[list[measure.System], list[dict]]:
    """Load all systems; beside each what a record says of it."""
    systems, facts = [], []
    loaders: dict[str, measure.Loader] = {}
    words = ["--user-dir", str(commands.USER_DIR), "--task", "memtx_translation", *flags]
    for one in specs:
        own = one.flags(shortlist)
        if str(own) not in loaders:
            loaders[str(own)] = measure.Loader(data_bin, [*words, *own])
        loader, before = loaders[str(own)], resident_bytes()
        system = loader.load(one.name, one.checkpoint)
        described = describe(system, one)
        if one.mode[0] == "ct2":
            allowed = shortlist if "shortlist" in one.mode else None
            rival = CTranslate2System.convert(
                system, one, data_bin, loader.config, threads, allowed
            )
            system, before = rival, rival.bytes_before
        measure.warm_up(system, measure.make_batches(system, 1, 1))  # prepares weights
        described["loaded_bytes"] = max(0, resident_bytes() - before)
        systems.append(system)
        facts.append(described)
    return systems, facts


def resident_bytes() -> int:
    """Memory of the process without what it has freed."""
    ctypes.CDLL(None).malloc_trim(0)
    return memory_line("VmRSS")


def describe(system: measure.System, one: Spec) -> dict[str, Any]:
    """The model of a system."""
    model = system.model
    kind = type(model.decoder).__name__
    return {
        "name": one.name,
        "checkpoint": commands.relative(str(one.checkpoint)),
        "mode": one.mode_name,
        "architecture": ARCHITECTURES.get(kind, kind),
        "encoder_layers": model.encoder.num_layers,
        "depth": model.decoder.num_layers,
        "dim": model.decoder.embed_dim,
        "vocabulary": len(system.task.target_dictionary),
    }


ARCHITECTURES = {
    "TransformerDecoder": "transformer",
    "TransformerDecoderBase": "transformer",
    "FeedbackDecoder": "feedback",
    "TransformerXLDecoder": "transformer-xl",
    "CompressiveDecoder": "compressive",
}


class CTranslate2System(measure.System):
    """A converted Transformer; ``model`` and ``task`` are those it was made from."""

    translator: Any
    search_settings: Any
    has_shortlist: bool = False
    bytes_before: int = 0  # the process's memory before it was loaded

    @classmethod
    def convert(
        cls,
        system: measure.System,
        one: Spec,
        data_bin: Path,
        config: Any,
        threads: int,
        shortlist: Path | None,
    ) -> CTranslate2System:
        """Convert a checkpoint in a temporary folder and load it."""
        try:
            import ctranslate2
        except ImportError:
            raise UserError(
                f"mode `{one.mode_name}` needs CTranslate2: pip install --no-deps ctranslate2"
            ) from None
        precision = "int8" if "int8" in one.mode else "float32"
        languages = system.task.cfg.source_lang, system.task.cfg.target_lang
        converter = ctranslate2.converters.FairseqConverter(
            str(one.checkpoint), str(data_bin), *languages
        )
        made = cls(system.name, system.model, None, system.task, system.decode)
        made.search_settings, made.has_shortlist = config.generation, shortlist is not None
        with tempfile.TemporaryDirectory() as folder:
            words = write_vocabulary_map(Path(folder) / "words", shortlist, system.task)
            folder = str(Path(folder) / "model")
            try:
                converter.convert(folder, vmap=words, quantization=precision)
            except ValueError as error:
                problem = " ".join(str(error).split())
                raise UserError(f"`{one.checkpoint}` cannot be converted: {problem}") from None
            made.bytes_before = resident_bytes()
            made.translator = ctranslate2.Translator(
                folder,
                device="cpu",
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


def write_vocabulary_map(path: Path, shortlist: Path | None, task: Any) -> str | None:
    """A shortlist in CTranslate2's form: a source word, a tab, its targets; none is always."""
    from fairseq_memtx.decoding.shortlist import Shortlist

    if shortlist is None:
        return None
    source, target = task.source_dictionary, task.target_dictionary
    found = Shortlist.load(shortlist, len(source), len(target))
    each = zip(found.translations, source.symbols, strict=True)
    with path.open("w", encoding="utf-8") as file:
        for words, key in [(found.always, ""), *each]:
            allowed = [target.symbols[word] for word in words.tolist() if word >= 0]
            file.write(f"{key}\t{' '.join(allowed)}\n")
    return str(path)


def weigh_state(system: measure.System) -> dict[str, float] | None:
    """See `measure.weigh_state`; for our generator of its own state; None where it is not known."""
    if isinstance(system, CTranslate2System):
        return None
    engines = getattr(system.generator, "engines", [])
    if not engines or not engines[0].can_fuse:
        return measure.weigh_state(system)
    batch = measure.make_batches(system, 1, 1)[0]
    short, long = (fused_state_bytes(system, batch, steps) for steps in STATE_STEPS)
    per_token = (long - short) / (STATE_STEPS[1] - STATE_STEPS[0])
    fixed = short - STATE_STEPS[0] * per_token
    length = batch["net_input"]["src_tokens"].size(1)
    return {"bytes_per_token": per_token, "bytes_per_source_token": round(fixed / length, 1)}


def fused_state_bytes(system: measure.System, batch: dict, steps: int) -> int:
    """Bytes of the state of our own search, one hypothesis, after ``steps`` positions."""
    import torch

    net_input = batch["net_input"]
    with torch.no_grad():
        encoded = system.model.encoder(net_input["src_tokens"], net_input["src_lengths"])
        masks = encoded["encoder_padding_mask"]
        search = (
            system.generator.engines[0]
            .weights()
            .start(encoded["encoder_out"][0], masks[0] if masks else None, 1)
        )
        for _ in range(steps):
            search.features(torch.tensor([system.task.target_dictionary.eos()]))
    return search.size_bytes()
