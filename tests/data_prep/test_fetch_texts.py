"""Public texts: from a folder or an address, checked by what they say."""

import dataclasses
import gzip
import hashlib
from pathlib import Path

import pytest

from data_prep import cli, fetch_texts, public_texts
from data_prep.public_texts import PUBLIC_TEXTS, PublicText
from fairseq_memtx.ground.errors import UserError
from scripts.experiment import commands
from scripts.experiment.configs import EXPERIMENTS

TEXT = b"Ein Mann.\nZwei Frauen.\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A public text of two files, one of which has an address: a file of this machine."""
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "a.de.gz").write_bytes(gzip.compress(TEXT))
    texts = (
        PublicText("set/a.de", len(TEXT), SHA256, (folder / "a.de.gz").as_uri()),
        PublicText("set/b.de", len(TEXT), SHA256),
    )
    monkeypatch.setitem(PUBLIC_TEXTS, "made-up", texts)
    return folder


def test_files_come_from_a_folder_and_from_their_address(origin: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "b.de").write_bytes(TEXT)
    out = tmp_path / "corpora"
    found = fetch_texts.fetch_texts("made-up", out, local)
    assert found == [out / "set" / "a.de.gz", out / "set" / "b.de"]
    assert gzip.decompress(found[0].read_bytes()) == found[1].read_bytes() == TEXT
    (origin / "a.de.gz").unlink()
    assert fetch_texts.fetch_texts("made-up", out) == found  # nothing is fetched again


def test_a_text_without_an_address_asks_for_a_folder(origin: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`set/b.de` has no public address .* `--local-dir`"):
        fetch_texts.fetch_texts("made-up", tmp_path / "corpora")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (TEXT[:-1], "it has 22 bytes instead of 23"),
        (TEXT.replace(b"Mann", b"Hund"), "its SHA-256 is"),
        (gzip.compress(TEXT)[:-9], "its gzip data is damaged"),
    ],
    ids=["shorter", "other", "damaged"],
)
def test_another_text_is_refused(content: bytes, says: str, origin: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpora"
    (out / "set").mkdir(parents=True)
    (out / "set" / "a.de").write_bytes(content)
    with pytest.raises(UserError, match=f"is not the text of that name \\({says}"):
        fetch_texts.fetch_texts("made-up", out)
    (out / "set" / "a.de").unlink()
    (origin / "a.de.gz").write_bytes(content)
    with pytest.raises(UserError, match=f"is another text by now \\({says}"):
        fetch_texts.fetch_texts("made-up", out)
    assert not list((out / "set").iterdir())


def test_an_address_that_does_not_answer_is_told(origin: Path, tmp_path: Path) -> None:
    (origin / "a.de.gz").unlink()
    with pytest.raises(UserError, match=r"could not be fetched .* `--local-dir`"):
        fetch_texts.fetch_texts("made-up", tmp_path / "corpora", wait=0.0)


def test_the_command(origin: Path, tmp_path: Path) -> None:
    out, local = tmp_path / "corpora", tmp_path / "local"
    (local / "set").mkdir(parents=True)
    (local / "set" / "b.de.gz").write_bytes(gzip.compress(TEXT))
    assert cli.main(["fetch", "made-up", "--out", str(out), "--local-dir", str(local)]) == 0
    assert (out / "set" / "b.de.gz").is_file()
    assert cli.main(["fetch", "made-up", "--out", str(tmp_path / "new")]) == 1


@pytest.mark.parametrize("name", ["multi30k", "wmt14-mini"])
def test_the_manifest_has_all_that_an_experiment_reads(name: str, tmp_path: Path) -> None:
    paths = {text.path for text in PUBLIC_TEXTS[name]}
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    data = EXPERIMENTS[name].data
    prefixes = commands.train_prefixes(EXPERIMENTS[name], tmp_path)
    read = [str(prefix.relative_to(tmp_path)) for prefix in prefixes] + [data.valid, data.test]
    assert len(read) > 2
    needed = {f"{prefix}.{side}" for prefix in read for side in ("en", "de")}
    assert needed <= paths
    assert {path for path in paths if not path.endswith(".docid")} == needed


def test_entries_are_well_formed() -> None:
    for texts in PUBLIC_TEXTS.values():
        for text in texts:
            assert len(text.sha256) == 64 and text.size > 0
            assert not text.url or text.url.startswith("https://")
            assert dataclasses.replace(text).name == text.path.split("/")[-1]
    assert public_texts.PUBLIC_TEXTS["tinyshakespeare"][0].size == 1_115_394
