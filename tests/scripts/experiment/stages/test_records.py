"""The schema of records: what is missing, surplus or of another type is named."""

import copy
import json

import pytest

from fairseq_memtx.commands.score import score
from fairseq_memtx.ground.errors import UserError
from scripts.experiment.folders import Run
from scripts.experiment.stages import records
from scripts.shared import provenance
from tests.scripts.made_up import grid_record, record, write_old


def new(decoder: str = "feedback", depth: int = 1, seed: int = 1, **axes) -> dict:
    return grid_record(Run(decoder, depth, seed, **axes))


def changed(path: str, value: object) -> dict:
    """A record with one field set, or removed where the value is ``...``."""
    whole = copy.deepcopy(new())
    *parents, name = path.split(".")
    part = whole
    for parent in parents:
        part = part[int(parent)] if parent.isdigit() else part[parent]
    if value is ...:
        del part[name]
    else:
        part[name] = value
    return whole


@pytest.mark.parametrize("made", [record(), new()], ids=["schema 1", "schema 2"])
def test_records_of_both_schemas_are_valid(made: dict) -> None:
    records.validate(made)


def test_all_that_is_scored_has_a_place() -> None:
    made = new()
    comet = {"comet": {"score": 80.5, "signature": "model:x"}}
    for one, extra in zip(made["decoding"], ({}, comet), strict=True):
        one["scores"] |= score(["a b"], ["a c"]) | extra
        assert "chrf++" in one["scores"]
    records.validate(made)


def test_an_unknown_schema_is_named() -> None:
    with pytest.raises(UserError, match=r"is 7, which is none of those known: 1, 2"):
        records.validate(changed("schema", 7))


def test_records_of_two_schemas_are_no_table(tmp_path) -> None:
    write_old(record("transformer", 2), tmp_path)
    with pytest.raises(UserError, match="has records of an earlier schema: move or remove them"):
        records.check_schema(tmp_path)
    records.write(new(), tmp_path)
    with pytest.raises(UserError, match="has records of several schemas"):
        records.read_all(tmp_path)
    records.check_schema(tmp_path / "new")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("commit", ..., "`record.commit` is missing"),
        ("colour", "red", "`record.colour` is not in the schema"),
        ("depth", "1", "`record.depth` is '1': it has to be int"),
        ("depth", True, "`record.depth` is True: it has to be int"),
        ("dirty", 0, "`record.dirty` is 0: it has to be bool"),
        ("decoding", [], r"`record.decoding` is \[\]: it has to be a list that is not empty"),
        ("decoding.0.beam", ..., r"`record.decoding\[0\].beam` is missing"),
        (
            "decoding.1.speed.0.seconds",
            ["1"],
            r"speed\[0\].seconds\[0\]` is '1': it has to be int or float",
        ),
        ("decoding.0.scores.bleu.signature", ..., r"scores.bleu.signature` is missing"),
        ("decoding.0.difference", {"baseline": "x"}, r"difference.difference` is missing"),
        ("learning.search", 3, "`record.learning.search` is 3: it has to be an object"),
        ("hardware", None, "`record.hardware` is None: it has to be an object"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        records.validate(changed(path, value))


def test_written_records_are_read_in_order(tmp_path) -> None:
    made = [new("transformer", 2), new("feedback", 10), new("feedback", 2, seed=3)]
    made += [new(recipe="curriculum"), new(width=128)]
    for one in made:
        records.write(one, tmp_path)
    names = sorted(path.stem for path in tmp_path.iterdir())
    assert names == [
        *("feedback-d1-curriculum-s1", "feedback-d1-w128-s1", "feedback-d10-s1"),
        *("feedback-d2-s3", "transformer-d2-s1"),
    ]
    assert records.read_all(tmp_path) == [made[3], made[2], made[1], made[0], made[4]]


def test_an_invalid_record_is_not_written(tmp_path) -> None:
    with pytest.raises(UserError):
        records.write(changed("threads", ...), tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_and_missing_records_are_user_errors(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no records"):
        records.read_all(tmp_path)
    path = records.write(new(), tmp_path)
    path.write_text(json.dumps(new())[:-5])
    with pytest.raises(UserError, match="is damaged, for it is not JSON"):
        records.read_all(tmp_path)


def test_the_state_of_the_checkout_is_known() -> None:
    commit, dirty = provenance.git_state()
    assert commit == "unknown" or len(commit) == 40
    assert isinstance(dirty, bool)
    assert provenance.cpu_model()
