"""What is asked of a translator, whatever it was loaded from, as plain values. Without fairseq."""

import functools
import json
from dataclasses import asdict
from typing import Any

SOURCE = ["The old dog sees a cat .", "", "A bird", "The woman reads the book and sleeps ."]


@functools.lru_cache(maxsize=4)
def load(models: tuple[str, ...], how: str) -> Any:
    """The translator, kept for the next question."""
    from fairseq_memtx.translator import SearchSettings, Translator

    settings = json.loads(how)
    int8 = settings.pop("int8", False)
    search = SearchSettings(**{"max_len_a": 0.0, "max_len_b": 20, **settings})
    return Translator.from_pretrained(list(models), search=search, int8=int8)


def ask(models: list[str], how: dict[str, Any], wanted: str) -> Any:
    """The answer.

    Args:
        models: checkpoints or folders of an ensemble.
        how: `int8`, and the settings of the search.
        wanted: "nbest", "prefixes", "scores", "documents", "document scores", "views" or
            "document views".
    """
    translator = load(tuple(models), json.dumps(how))
    if wanted == "nbest":
        return [[asdict(one) for one in some] for some in translator.nbest(SOURCE)]
    if wanted == "prefixes":
        begun = ["Der Hund", "", "", "Die"]
        return [[asdict(one) for one in some] for some in translator.nbest(SOURCE, prefixes=begun)]
    if wanted == "scores":
        given = ["Der Hund .", "", "Ein Vogel", "Die Frau liest ."]
        return [asdict(one) for one in translator.score(SOURCE, given)]
    if wanted == "documents":
        return translator.translate_documents([SOURCE, SOURCE[2:]])
    if "views" in wanted:
        return attention(translator, wanted == "document views")
    given = [[["Der Hund", "Ein Hund"]] * 4, [["Die Frau", ""]] * 2]
    return translator.score_documents([SOURCE, SOURCE[2:]], given)


def attention(translator: Any, in_documents: bool) -> Any:
    """What a page shows of attention, in numbers finer than a page's."""
    from fairseq_memtx.explain import documents, views

    before, views.SCALE = views.SCALE, 10**7
    try:
        if in_documents:
            told = documents.explained_documents(translator, [SOURCE, SOURCE[2:]])
        else:
            told = views.explained(translator, SOURCE)
    finally:
        views.SCALE = before
    shown = [one for sentence in told.pop("sentences") for one in sentence["translations"]]
    layers = [layer for one in shown for layer in one["layers"]]
    names = [{name: one[name] for name in ("carried", "read", "subwords")} for one in shown]
    of_segments = [(layer.get("in_view"), layer.get("spans")) for layer in layers]
    heard = [[layer["source"], layer["past"]] for layer in layers]
    mixtures = [one["mixtures"] for one in shown]
    return [told, names, of_segments, shares(heard), shares(mixtures)]


def shares(numbers: Any) -> Any:
    """Whole numbers in lists of any depth as parts of one."""
    return list(map(shares, numbers)) if isinstance(numbers, list) else numbers / 10**7
