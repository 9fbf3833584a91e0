"""The model card of a folder: what is recorded of the model, and of the rest that it is not."""

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..ground.errors import UserError
from ..ground.files import read_json
from ..ground.layout import told_in
from .config import Config

UNKNOWN = "not recorded"


def text_of(config: Config, name: str, record: Path | None, data: Path) -> str:
    """The card.

    Args:
        config: of the folder.
        name: of the folder.
        record: of an experiment that the model is the result of; None for none.
        data: the folder of the binarised data.

    Raises:
        UserError: for a record of another decoder.
    """
    told = {} if record is None else read_json(record, "the record of an experiment")
    decoder = config.model.decoder
    if told and (told.get("decoder"), told.get("depth")) != (decoder.kind, decoder.layers):
        raise UserError(
            f"`--record {record}` is of the decoder {told.get('decoder')!r} with"
            f" {told.get('depth')!r} layers: the model has {decoder.kind} with {decoder.layers}"
        )
    prepared = [read_json(path, "what data_prep tells of the data") for path in told_in(data)[:1]]
    parts = [
        _model(config, name),
        _use(config, name),
        _data(config, told, prepared[0] if prepared else {}),
        _training(config, told),
        _scores(told),
        _speed(told),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _model(config: Config, name: str) -> Iterator[str]:
    source, target = config.languages
    encoder, decoder = config.model.encoder, config.model.decoder
    parameters = config.provenance.get("parameters")
    yield f"# {name}"
    yield ""
    yield f"A translation model from `{source}` to `{target}`."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| encoder | Transformer, {encoder.layers} layers of {encoder.dim} |"
    yield f"| decoder | {decoder.kind}, {decoder.layers} layers of {decoder.dim} |"
    yield f"| words | {config.model.source_words:,} and {config.model.target_words:,} |"
    yield f"| parameters | {parameters:,} |" if isinstance(parameters, int) else "| | |"
    yield f"| weights | {config.precision} |"
    yield f"| text | tokenizer {config.steps.tokenizer}, then sentencepiece |"


def _use(config: Config, name: str) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "It wants `fairseq-memtx`, torch and sentencepiece; fairseq itself is not needed."
    yield ""
    yield "```"
    yield f"memtx translate {name} --input text.{config.languages[0]}"
    yield f"memtx import {name} --out model.pt    # back to a checkpoint for fairseq"
    yield "```"
    yield ""
    searched = ", ".join(f"{option} {value}" for option, value in sorted(config.search.items()))
    yield f"Search, unless told otherwise: {searched or 'the defaults of memtx translate'}."


def _data(config: Config, record: Mapping[str, Any], prepared: Mapping[str, Any]) -> Iterator[str]:
    yield "## Data"
    yield ""
    data = record.get("data")
    if isinstance(data, dict):
        pairs = data.get("pairs")
        told = pairs.items() if isinstance(pairs, dict) else ()
        yield f"- corpus: {data.get('name', UNKNOWN)}; tested on {data.get('test', UNKNOWN)}"
        yield f"- pairs: {', '.join(f'{split} {count:,}' for split, count in told) or UNKNOWN}"
        yield f"- SHA-256 of the prepared data: {data.get('sha256', UNKNOWN)}"
    else:
        yield f"- corpus: {UNKNOWN}"
    yield f"- prepared by data_prep: {'yes' if prepared else UNKNOWN}"
    hashes = config.provenance.get("data")
    for side, value in sorted(hashes.items()) if isinstance(hashes, dict) else ():
        yield f"- hash of `{side}` at training: {value}"


def _training(config: Config, record: Mapping[str, Any]) -> Iterator[str]:
    told, training = config.provenance, record.get("training")
    training = training if isinstance(training, dict) else {}
    yield "## Training"
    yield ""
    yield f"- checkpoint: `{told.get('checkpoint')}`, SHA-256 {told.get('checkpoint_sha256')}"
    yield f"- updates: {_known(training.get('updates', told.get('updates')))}"
    yield f"- validation: {_known(training.get('valid_nll_loss', told.get('validation')))}"
    yield f"- seed: {_known(record.get('seed'))}; commit: {_known(record.get('commit'))}"


def _scores(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## Scores"
    yield ""
    scores = record.get("scores")
    rows = {
        metric: found
        for metric, found in (scores.items() if isinstance(scores, dict) else ())
        if isinstance(found, dict) and "signature" in found
    }
    if not rows:
        yield f"Scores are {UNKNOWN}."
        return
    yield "| metric | score | signature |"
    yield "|---|---:|---|"
    for metric, found in rows.items():
        signature = str(found["signature"]).replace("|", "\\|")
        yield f"| {metric} | {found.get('score')} | `{signature}` |"


def _speed(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## Speed"
    yield ""
    speeds = record.get("speed")
    rows = [one for one in speeds if isinstance(one, dict)] if isinstance(speeds, list) else []
    if not rows:
        yield f"Speed is {UNKNOWN}."
        return
    hardware = record.get("hardware")
    cpu = hardware.get("cpu") if isinstance(hardware, dict) else None
    yield f"On {_known(cpu)}, {_known(record.get('threads'))} thread(s), as checkpoint in fairseq:"
    yield ""
    yield "| batch | words/s |"
    yield "|---:|---:|"
    for one in rows:
        yield f"| {one.get('batch')} | {_known(_words_per_second(one))} |"


def _words_per_second(speed: Mapping[str, Any]) -> str | None:
    """The median of several runs."""
    seconds, words = speed.get("seconds"), speed.get("words")
    if not isinstance(seconds, list) or not seconds or not isinstance(words, int):
        return None
    return f"{words / statistics.median(seconds):,.0f}"


def _known(value: Any) -> str:
    return UNKNOWN if value is None else str(value)
