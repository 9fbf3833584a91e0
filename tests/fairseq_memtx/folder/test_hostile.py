"""Damaged and hostile folders: refused in one line, before anything large is made."""

import json
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairseq_memtx.commands import import_folder, translate
from fairseq_memtx.folder.writing import about
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import Translator

Damage = Callable[[Path], None]


def changed(path: Path, **values: Any) -> None:
    """Change values of a configuration; `a__b` is b within a."""
    told = json.loads(path.read_bytes())
    for name, value in values.items():
        *outer, last = name.split("__")
        place = told
        for part in outer:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path.write_text(json.dumps(told), encoding="utf-8")


def config(**values: Any) -> Damage:
    return lambda folder: changed(folder / "config.json", **values)


def replaced(name: str, content: bytes, hashed: bool = True) -> Damage:
    """Another file; `hashed`: the configuration tells of it."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)
        if hashed:
            told = json.loads((folder / "config.json").read_bytes())
            told["files"][name] = about(content)
            (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")

    return damage


def header(change: Callable[[dict[str, Any]], None]) -> Damage:
    """Change the header of the weights, whose numbers stay."""

    def damage(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        told = json.loads(content[8 : 8 + size])
        change(told)
        made = json.dumps(told).encode()
        made += b" " * (-len(made) % 8)
        whole = struct.pack("<Q", len(made)) + made + content[8 + size :]
        replaced("model.safetensors", whole)(folder)

    return damage


def vocabulary(change: Callable[[dict[str, Any]], None]) -> Damage:
    def damage(folder: Path) -> None:
        told = json.loads((folder / "vocab.json").read_bytes())
        change(told["source"])
        replaced("vocab.json", json.dumps(told).encode())(folder)

    return damage


def shorter(told: dict[str, Any]) -> None:
    for name in ("symbols", "counts"):
        told[name].pop()


def huge(told: dict[str, Any]) -> None:
    told["decoder.layers.0.fc1.weight"]["shape"] = [2**40, 2**20]


def gone(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def linked(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

    return damage


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    replaced("model.safetensors", content[: len(content) // 2])(folder)


def one_bit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    replaced("model.safetensors", bytes(content), hashed=False)(folder)


def pipe(folder: Path) -> None:
    (folder / "vocab.json").unlink()
    os.mkfifo(folder / "vocab.json")


DAMAGE: dict[str, tuple[Damage, str]] = {
    "no configuration": (gone("config.json"), "there is no `.*config.json`"),
    "no weights": (gone("model.safetensors"), "there is no `.*model.safetensors`"),
    "no subwords": (gone("sentencepiece.bpe.model"), "there is no `.*sentencepiece.bpe.model`"),
    "no shortlist": (gone("shortlist.npz"), "there is no `.*shortlist.npz`"),
    "a link out of it": (linked("vocab.json"), "is a link out of its folder"),
    "a pipe": (pipe, "is no plain file"),
    "one bit": (one_bit, "its SHA-256 is another"),
    "another size": (replaced("vocab.json", b"{}", hashed=False), "has 2 bytes instead of"),
    "cut weights": (cut, "its header tells of others"),
    "no header": (replaced("model.safetensors", b"\xff" * 64), "no whole safetensors file"),
    "a long header": (
        replaced("model.safetensors", struct.pack("<Q", 2**62) + b"{}"), "no whole safetensors"
    ),
    "a header without end": (
        replaced("model.safetensors", struct.pack("<Q", 9000) + b"[" * 9000), "the header of .* is"
    ),
    "a pickle": (replaced("model.safetensors", b"\x80\x04N."), "no whole safetensors file"),
    "huge shapes": (header(huge), r"by its configuration the model has float32 \[16, 16\]"),
    "a weight too many": (
        header(lambda told: told.update(more=told["encoder.version"])), "has `more`, which is"
    ),
    "a weight too few": (
        header(lambda told: told.pop("decoder.version") and None), "lacks `decoder.version`"
    ),
    "overlapping weights": (
        header(lambda told: told["decoder.layers.0.fc1.weight"].update(
            told["decoder.layers.1.fc1.weight"])), "cannot be read: .*: copy it again",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "cannot be read as the config"),
    "deep JSON": (
        lambda f: (f / "config.json").write_text("[" * 100_000), "nested too deeply"
    ),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "not an object"),
    "another format": (config(format="memtx-folder-9"), "format 'memtx-folder-9'"),
    "another precision": (config(precision="float4"), "precision is 'float4'"),
    "other precision than the file": (config(precision="bfloat16"), "the model has bfloat16"),
    "huge layers": (config(model__encoder__layers=10**9), "layers is 1000000000: it has to be"),
    "huge dimensions": (config(model__decoder__dim=65536), "by its configuration|belongs to"),
    "a boolean for a number": (config(model__encoder__layers=True), "layers is True"),
    "no heads": (config(model__encoder__heads=0), "heads is 0"),
    "other heads": (config(model__encoder__heads=3), "has to be a multiple of heads"),
    "NaN": (config(search={"lenpen": float("nan")}), "`lenpen` is nan"),
    "an unknown search": (config(search={"eval": 1}), "unknown option 'eval'"),
    "an unknown part": (config(model__code="import os"), "'code' is unknown"),
    "a missing part": (config(steps=None), "'steps' is missing"),
    "an unknown decoder": (config(model__decoder__kind="os.system"), "kind is 'os.system'"),
    "an unknown option": (config(model__decoder__options={"exec": 1}), "'exec' is unknown"),
    "an impossible option": (
        config(model__decoder__options={"memory_mixture": "9"}), "the memory mixture is '9'"
    ),
    "an option of another type": (
        config(model__decoder__options={"memory_span": "2"}), "the option memory_span is '2'"
    ),
    "a name for another": (
        config(same_as={"encoder.layer_norm.weight": "os"}), "none of the model's weights"
    ),
    "a foreign file": (
        config(files__passwd={"sha256": "", "bytes": 1}), "files names 'passwd', which is none"
    ),
    "words of another number": (vocabulary(shorter), "words and its padding"),
    "a word twice": (
        vocabulary(lambda told: told["symbols"].__setitem__(9, told["symbols"][8])), "word twice"
    ),
    "half a character": (
        vocabulary(lambda told: told["symbols"].__setitem__(9, "\ud800")), "surrogates not allowed"
    ),
    "special symbols elsewhere": (
        vocabulary(lambda told: told["special"].update(pad=10**6)), "what is no word's number"
    ),
    "subwords that are none": (
        replaced("sentencepiece.bpe.model", b"none"), "cannot be read as a sentencepiece model"
    ),
    "a shortlist that is none": (replaced("shortlist.npz", b"none"), "is not a shortlist"),
    "another tokenizer": (config(steps__tokenizer="os.system"), "have to be a tokenizer of"),
}  # fmt: skip


@pytest.mark.parametrize("damage, reason", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_refused(
    copied: Callable[[str], Path], damage: Damage, reason: str
) -> None:
    folder = copied("feedback")
    damage(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=reason) as refused:
        Translator.from_pretrained(folder)
    assert "\n" not in str(refused.value)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, "KiB: something large was made first"


def test_commands_say_it_in_one_line(
    copied: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, text = copied("feedback"), tmp_path / "text.en"
    text.write_text("A bird\n")
    one_bit(folder)
    assert translate.main([str(folder), "--input", str(text), "--output", str(tmp_path / "o")]) == 1
    assert import_folder.main([str(folder), "--out", str(tmp_path / "model.pt")]) == 1
    told = [line for line in capsys.readouterr().err.split("\n") if line.startswith("error:")]
    assert len(told) == 2
    assert all("its SHA-256 is another" in line for line in told)
    assert not (tmp_path / "o").exists() and not (tmp_path / "model.pt").exists()


def test_what_a_folder_cannot_do_is_said(folders: dict[str, Path], scattered: dict) -> None:
    from fairseq_memtx.translator import SearchSettings

    folder = folders["feedback"]
    with pytest.raises(UserError, match="`data` is x: a model's folder has its own words"):
        Translator.from_pretrained(folder, data="x")
    with pytest.raises(UserError, match="for a model's folder it has to be fast"):
        Translator.from_pretrained(folder, search=SearchSettings(generator="fairseq"))
    with pytest.raises(UserError, match="all checkpoints or all folders, not both"):
        Translator.from_pretrained([folder, scattered["feedback"]])
