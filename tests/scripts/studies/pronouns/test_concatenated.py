"""Sentences of a document joined, as data and in a translation."""

from pathlib import Path

from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset

from scripts.studies.pronouns import concatenated


def test_sentences_come_after_those_before_them_in_their_document(
    prepared_sample: Path, tmp_path: Path
) -> None:
    folder = concatenated.concatenate(prepared_sample, tmp_path / "joined", 3)
    dictionary = Dictionary.load(str(folder / "dict.en.txt"))
    between = dictionary.index(concatenated.BREAK)
    assert between != dictionary.unk()
    for language in ("en", "de"):
        name = f"valid.en-de.{language}"
        old = MMapIndexedDataset(str(prepared_sample / "bin" / name))
        new = MMapIndexedDataset(str(folder / name))
        ids = (prepared_sample / "bin" / "valid.docid").read_text().split("\n")[:-1]
        assert len(new) == len(old) == len(ids)
        for number in range(len(old)):
            first = max(n for n in range(number + 1) if n == 0 or ids[n] != ids[n - 1])
            wanted: list[int] = []
            for n in range(max(first, number - 2), number + 1):
                wanted += [*old[n].tolist()[:-1], between]
            assert new[number].tolist() == [*wanted[:-1], dictionary.eos()]


def test_the_last_part_of_a_translation_counts() -> None:
    class Copies:
        """Translates into the source."""

        def __init__(self) -> None:
            self.task = self
            self.source_dictionary = self

        def index(self, symbol: str) -> int:
            return 9

        def encode(self, line: str) -> list[list[int]]:
            return [[int(word) for word in line.split()]] if line else []

        def translate_encoded(self, parts: list[list[int]]) -> list[str]:
            texts = [" ".join(map(str, part)) for part in parts]
            return [text.replace("9", concatenated.BREAK) for text in texts]

    texts = [["1 2", "3", "4 5"], ["6"]]
    found = concatenated.translate(Copies(), texts, 2)  # type: ignore[arg-type]
    assert found == texts
