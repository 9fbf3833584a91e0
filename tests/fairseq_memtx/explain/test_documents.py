"""Views of documents: the translations with memory, and what each sentence goes on from."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fairseq_memtx.explain import views
from fairseq_memtx.explain.documents import explained_documents
from fairseq_memtx.explain.listening import ForcedPass, forced
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import SearchSettings, Translator
from tests.checkpoints import write_checkpoint, write_scattered

DOCUMENTS = [
    ["The old dog sees a cat .", "A bird", "  ", "The woman reads the book and sleeps ."],
    ["She buys it .", "He said that it was old ."],
]
SEARCH = SearchSettings(beam=3, nbest=2, max_len_a=0, max_len_b=10)


FLAGS = {
    "transformer-xl": "",
    "compressive": "--memtx-segment-len 4 --memtx-mem-len 4 --memtx-cmem-len 3"
    " --memtx-compression-rate 2",
    "feedback": "--memtx-relative-positions 9 --memtx-memory-span 8"
    " --no-token-positional-embeddings",
}
#: An encoder that remembers too.
FLAGS["transformer-xl, encoder"] = "--memtx-encoder-memory 12"
Models = Callable[[str], Translator]


@pytest.fixture(scope="module")
def model(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("documents")

    @cache
    def make(decoder: str) -> Translator:
        path = folder / f"{decoder}.pt"
        kind = decoder.partition(",")[0]
        write_checkpoint(prepared_sample / "bin", path, kind, 2, FLAGS[decoder])
        return Translator.from_pretrained(write_scattered(path, path), search=SEARCH)

    return make


@pytest.mark.parametrize(
    "decoder, context",
    [("transformer-xl", -1), ("transformer-xl", 1), ("transformer-xl", 0), ("compressive", -1),
     ("feedback", 2), ("transformer-xl, encoder", -1)],
)  # fmt: skip
def test_sentences_go_on_from_those_before(
    decoder: str, context: int, model: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = model(decoder)
    passes: list[ForcedPass] = []

    def kept(*args: Any) -> ForcedPass:
        passes.append(forced(*args))
        return passes[-1]

    monkeypatch.setattr(views, "forced", kept)
    told = explained_documents(translator, DOCUMENTS, "model.pt", context)["sentences"]
    lines = [line for lines in DOCUMENTS for line in lines if line.strip()]
    assert [one["text"] for one in told] == lines
    assert [one["document"] for one in told] == [1, 1, 1, 2, 2]
    wanted = translator.translate_documents(DOCUMENTS, context=context)
    best = [text for texts in wanted for text in texts if text]
    assert [one["translations"][0]["text"] for one in told] == best
    shown = [one for sentence in told for one in sentence["translations"]]
    for one, made in zip(shown, passes, strict=True):
        assert one["scores"] == pytest.approx(made.token_scores, abs=1e-3)
    read: list[list[str | None]] = []
    for number, sentence in enumerate(told):
        if number in (0, 3):
            read = []
        known = read if context < 0 else read[max(0, len(read) - context) :]
        before = [word for words in known for word in words]
        for one in sentence["translations"]:
            carried = one["carried"]
            assert one["read"][:carried] == before[len(before) - carried :]
            assert one["read"][carried:] == [None, *one["subwords"]]
            for layer in one["layers"]:
                widths = [len(step[0]) for step in layer["past"]]
                own = 0 if decoder == "feedback" else 1
                assert (widths[0] > own) == bool(before)
                if decoder != "compressive":  # whose entries stand for several words
                    assert all(width <= carried + t + own for t, width in enumerate(widths))
        read.append([None, *sentence["translations"][0]["subwords"]])
    assert (told[1]["translations"][0]["carried"] > 0) == (context != 0)


@pytest.mark.parametrize(
    "decoder", [pytest.param(x, marks=[pytest.mark.slow] * ("," in x)) for x in FLAGS]
)
def test_the_memory_matters(decoder: str, model: Models) -> None:
    """Or the test above could not tell a pass with it from one without."""
    translator = model(decoder)
    alone = views.explained(translator, DOCUMENTS[0])["sentences"]
    together = explained_documents(translator, DOCUMENTS[:1])["sentences"]
    scores = [[one["translations"][0]["scores"] for one in told] for told in (alone, together)]
    assert scores[0][0] == pytest.approx(scores[1][0], abs=1e-3)
    assert scores[0][2] != pytest.approx(scores[1][2], abs=1e-2)


def test_a_model_whose_memory_ends_with_its_sentence_is_refused(
    tiny_checkpoints: dict[str, Path],
) -> None:
    translator = Translator.from_pretrained(tiny_checkpoints["feedback"], search=SEARCH)
    with pytest.raises(UserError, match="need a decoder whose memory outlives a sentence"):
        explained_documents(translator, DOCUMENTS)
