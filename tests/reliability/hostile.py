"""Checkpoints that mean harm, or have come to harm, made of a good one.

Each maker is `make(good, bad, mark)`: it reads the checkpoint `good` and writes `bad`. Where code
in it ran, the file `mark` would appear.
"""

import collections
import os
import pickle
import random
import shutil
import struct
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

Make = Callable[[Path, Path, Path], None]


class Call:
    """An object whose unpickling calls `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def read(good: Path) -> dict[str, Any]:
    """A checkpoint of one's own, with its settings as omegaconf's."""
    state = torch.load(good, weights_only=False)
    state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
    return state


def changed(change: Callable[[dict[str, Any], Path], None]) -> Make:
    """The maker that changes the loaded checkpoint."""

    def make(good: Path, bad: Path, mark: Path) -> None:
        state = read(good)
        change(state, mark)
        torch.save(state, bad)

    return make


def with_setting(section: str, name: str, value: str | int) -> Make:
    """The maker that sets one value; `MARK` in a text becomes code that makes the mark."""

    def change(state: dict[str, Any], mark: Path) -> None:
        code = f"open({str(mark)!r}, 'w').close() or None"
        text = value.replace("MARK", code) if isinstance(value, str) else value
        holder = state["cfg"][section]
        if isinstance(holder, Namespace):
            setattr(holder, name, text)
        else:
            OmegaConf.set_struct(holder, False)
            holder[name] = text

    return changed(change)


def with_object(function: Callable[..., Any], *arguments: Any) -> Make:
    """The maker that hides a call among what the training left."""

    def change(state: dict[str, Any], mark: Path) -> None:
        told = [str(mark) if argument == "MARK" else argument for argument in arguments]
        state["extra_state"]["metrics"] = [("x", Call(function, *told))]

    return changed(change)


def _nested(depth: int) -> tuple[Any, ...]:
    """A tuple of 2^depth leaves in little memory."""
    made: tuple[Any, ...] = (1, 2)
    for _ in range(depth):
        made = (made, made)
    return made


def _nested_lists(depth: int) -> list[Any]:
    made: list[Any] = [1, 2]
    for _ in range(depth):
        made = [made, made]
    return made


def _key_without_end(state: dict[str, Any], mark: Path) -> None:
    # Saved as a value, since making it a key here would take as long as reading it.
    state["extra_state"]["slow"] = Call(set, [_nested(60)])


def _settings_without_end(state: dict[str, Any], mark: Path) -> None:
    state["cfg"] = {"task": _nested_lists(50), "model": Namespace(**vars(state["cfg"]["model"]))}


def _own_parent(state: dict[str, Any], mark: Path) -> None:
    config = OmegaConf.create({"a": {"b": 1}})
    config.a.__dict__["_parent"] = config.a
    state["cfg"] = config.a


def _nameless(state: dict[str, Any], mark: Path) -> None:
    state["cfg"] = {"model": {"fconv": {"encoder_layers": f"open({str(mark)!r}, 'w')"}}}


def _tokenizer_of_validation(state: dict[str, Any], mark: Path) -> None:
    task = state["cfg"]["task"]
    OmegaConf.set_struct(task, False)
    task["eval_bleu"], task["eval_bleu_detok"] = True, "hf"


def _stretched(state: dict[str, Any], mark: Path) -> None:
    state["model"]["decoder.extra"] = torch.zeros(1).expand(1 << 30)


def _many_names(state: dict[str, Any], mark: Path) -> None:
    weight = torch.zeros(1 << 16)
    state["model"] |= {f"decoder.extra.{i}": weight for i in range(5000)}


def _poisoned(value: float) -> Callable[[dict[str, Any], Path], None]:
    def change(state: dict[str, Any], mark: Path) -> None:
        name = next(name for name in state["model"] if name.endswith("decoder.layers.0.fc1.weight"))
        state["model"][name] = state["model"][name].clone()
        state["model"][name].view(-1)[3] = value

    return change


def bomb(good: Path, bad: Path, mark: Path, size: int = 1 << 32) -> None:
    """One weight of zeros, compressed: 4 GiB in some MiB."""
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for part in source.infolist():
            if not part.filename.endswith("data/0"):
                target.writestr(part, source.read(part))
                continue
            packed = zipfile.ZipInfo(part.filename)
            packed.compress_type = zipfile.ZIP_DEFLATED
            with target.open(packed, "w", force_zip64=True) as stream:
                for _ in range(size >> 24):
                    stream.write(bytes(1 << 24))


def rewritten(good: Path, bad: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """The archive again, parts changed, or left out for None, with right checksums."""
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for part in source.infolist():
            content = change(part.filename.partition("/")[2], source.read(part))
            if content is not None:
                target.writestr(part.filename, content)


def more_numbers(good: Path, bad: Path, mark: Path) -> None:
    """A tensor that reads beyond its numbers, into what lies behind them in memory."""
    state = {"model": {"w": torch.arange(7.0)}, "cfg": None}
    torch.save(state, bad.with_suffix(".plain"))
    old, new = b"K\x07tq", b"K\x70tq"
    rewritten(bad.with_suffix(".plain"), bad, lambda _, content: content.replace(old, new))
    bad.with_suffix(".plain").unlink()


def twice(good: Path, bad: Path, mark: Path) -> None:
    """Two parts of one name, of which readers may take either."""
    shutil.copy(good, bad)
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(archive.namelist()[0], b"\x80\x02}q\x00.")


def flipped(good: Path, bad: Path, mark: Path, seed: int = 1) -> None:
    """One bit changed within the numbers of a weight."""
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        part = max(archive.infolist(), key=lambda item: item.file_size)
    inside = random.Random(seed).randrange(part.file_size)
    name, extra = struct.unpack("<HH", content[part.header_offset + 26 : part.header_offset + 30])
    content[part.header_offset + 30 + name + extra + inside] ^= 1 << seed % 8
    bad.write_bytes(content)


def cut(good: Path, bad: Path, mark: Path) -> None:
    """The first half."""
    content = good.read_bytes()
    bad.write_bytes(content[: len(content) // 2])


def foreign_zip(good: Path, bad: Path, mark: Path) -> None:
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("letter.txt", "Dear all,")


def script(good: Path, bad: Path, mark: Path) -> None:
    """A TorchScript program."""
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(bad))


def without_permission(good: Path, bad: Path, mark: Path) -> None:
    shutil.copy(good, bad)
    bad.chmod(0)


def old_pickle(good: Path, bad: Path, mark: Path) -> None:
    """In the form of torch < 1.6, with a call in it."""
    state = read(good) | {"run": Call(os.mkdir, str(mark))}
    torch.save(state, bad, _use_new_zipfile_serialization=False)


HOSTILE: dict[str, Make] = {
    # code
    "a call": with_object(os.mkdir, "MARK"),
    "a shell's": with_object(os.system, "touch MARK"),
    "an evaluation": with_object(eval, "1"),
    "a call in an old file": old_pickle,
    "code in the attention": with_setting("model", "encoder_xformers_att_config", "MARK"),
    "code in the softmax": with_setting("model", "adaptive_softmax_cutoff", "MARK"),
    "code in the optimizer": with_setting("optimizer", "adam_betas", "MARK"),
    "code behind a list": with_setting("model", "adaptive_softmax_cutoff", "[1, MARK]"),
    # what only computes may be chosen
    "fconv": with_setting("model", "_name", "fconv"),
    "another architecture": with_setting("model", "_name", "transformer_from_pretrained_xlm"),
    "a model without a name": changed(_nameless),
    "another task": with_setting("task", "_name", "audio_pretraining"),
    "another criterion": with_setting("criterion", "_name", "ctc"),
    "another tokenizer": changed(_tokenizer_of_validation),
    "a language that is a path": with_setting("task", "source_lang", "../../etc"),
    "the environment": with_setting("task", "source_lang", "${oc.env:HOME}"),
    # without end
    "zeros": lambda good, bad, mark: bomb(good, bad, mark, 1 << 26),
    "a tensor stretched": changed(_stretched),
    "a tensor under many names": changed(_many_names),
    "layers": with_setting("model", "decoder_layers", 10**7),
    "positions": with_setting("model", "max_target_positions", 10**11),
    "a width": with_setting("model", "decoder_ffn_embed_dim", 10**10),
    "memory": with_object(bytearray, 1 << 40),
    "texts": with_object(str, _nested_lists(50)),
    "a set": changed(_key_without_end),
    "an encoding": with_object(__import__("_codecs").encode, "x" * 100, "punycode"),
    "settings": changed(_settings_without_end),
    "settings in a circle": changed(_own_parent),
    # damage
    "more numbers": more_numbers,
    "two parts of a name": twice,
    "a flipped bit": flipped,
    "half a file": cut,
    "nothing": lambda good, bad, mark: bad.write_bytes(b""),
    "a text": lambda good, bad, mark: bad.write_text("Dear all,\n"),
    "a zip": foreign_zip,
    "a program": script,
    "a folder": lambda good, bad, mark: bad.mkdir(),
    "a list": lambda good, bad, mark: torch.save([1, 2], bad),
    "no weights": lambda good, bad, mark: torch.save({"model": 3}, bad),
    "no history": changed(lambda state, mark: state.update(optimizer_history="long")),
    "an array of objects": changed(
        lambda state, mark: state.update(extra_state={"x": np.array([Call(print, 1)], object)})
    ),
    "a counter": changed(
        lambda state, mark: state.update(extra_state={"x": collections.Counter("ab")})
    ),
}

#: Weights that are no numbers: stopped by what uses them.
POISONED: dict[str, Make] = {
    "NaN": changed(_poisoned(float("nan"))),
    "infinity": changed(_poisoned(float("inf"))),
}

assert pickle.HIGHEST_PROTOCOL >= 2  # torch's form
