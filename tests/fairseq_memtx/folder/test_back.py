"""From a checkpoint to a folder and back: the same numbers, and a checkpoint that fairseq loads."""

from pathlib import Path

import pytest
import torch

from fairseq_memtx.commands import export, import_folder
from fairseq_memtx.translator import SearchSettings, Translator
from tests.fairseq_memtx.folder.conftest import DECODERS
from tests.fairseq_memtx.folder.wishes import SOURCE

SEARCH = SearchSettings(max_len_a=0, max_len_b=20)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model"]


def there_and_back(checkpoint: Path, place: Path, weights: str) -> Path:
    folder, out = place / "folder", place / "back" / "model.pt"
    out.parent.mkdir()
    assert export.main([str(checkpoint), "--out", str(folder), "--weights", weights]) == 0
    assert import_folder.main([str(folder), "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("decoder", DECODERS)
def test_bit_for_bit(scattered: dict[str, Path], tmp_path: Path, decoder: str) -> None:
    back = there_and_back(scattered[decoder], tmp_path, "float32")
    before, after = weights_of(scattered[decoder]), weights_of(back)
    assert set(before) == set(after)
    for name, weight in before.items():
        assert weight.dtype == after[name].dtype, name
        assert weight.numpy().tobytes() == after[name].numpy().tobytes(), name
    # with the dictionaries beside it, wherever the training's are
    made = Translator.from_pretrained(back, data=back.parent, search=SEARCH)
    want = Translator.from_pretrained(scattered[decoder], search=SEARCH).translate(SOURCE)
    assert made.translate(SOURCE) == want


@pytest.mark.parametrize("weights", ["int8", "bfloat16"])
def test_rounded_weights_translate_alike_in_both_forms(
    scattered: dict[str, Path], tmp_path: Path, weights: str
) -> None:
    back = there_and_back(scattered["feedback"], tmp_path, weights)
    of_folder = Translator.from_pretrained(tmp_path / "folder", search=SEARCH).translate(SOURCE)
    of_back = Translator.from_pretrained(back, data=back.parent, search=SEARCH).translate(SOURCE)
    assert of_folder == of_back
    if weights == "int8":
        rounded = Translator.from_pretrained(scattered["feedback"], search=SEARCH, int8=True)
        assert of_folder == rounded.translate(SOURCE)
    size = (tmp_path / "folder" / "model.safetensors").stat().st_size
    assert size < 0.75 * sum(4 * x.numel() for x in weights_of(scattered["feedback"]).values())


def test_what_is_beside_is_not_overwritten(
    folders: dict[str, Path], tmp_path: Path, capsys
) -> None:
    out = tmp_path / "model.pt"
    (tmp_path / "dict.de.txt").write_text("other 1\n")
    assert import_folder.main([str(folders["feedback"]), "--out", str(out)]) == 1
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert "is there already and of another model" in told
    assert not out.exists()
    assert (tmp_path / "dict.de.txt").read_text() == "other 1\n"


def test_the_folder_itself_is_not_overwritten(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "model.safetensors"):
        path = folders["feedback"] / name
        before = path.read_bytes()
        assert import_folder.main([str(folders["feedback"]), "--out", str(path)]) == 1
        assert "which is read" in capsys.readouterr().err
        assert path.read_bytes() == before


def test_paths_of_the_machine_stay_behind(folders: dict[str, Path], prepared_sample: Path) -> None:
    told = (folders["feedback"] / "config.json").read_text(encoding="utf-8")
    assert str(prepared_sample) not in told
    assert '"data": "bin"' in told
