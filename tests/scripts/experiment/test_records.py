"""The schema of records: what is missing, surplus or of another type is named."""

import copy
import json

import pytest

from fairseq_memtx.ground.errors import UserError
from scripts.experiment import records
from scripts.shared import provenance
from tests.scripts.made_up import record


def changed(path: str, value: object) -> dict:
    """A record with one field set, or removed where the value is ``...``."""
    whole = copy.deepcopy(record())
    *parents, name = path.split(".")
    part = whole
    for parent in parents:
        part = part[int(parent)] if parent.isdigit() else part[parent]
    if value is ...:
        del part[name]
    else:
        part[name] = value
    return whole


def test_a_made_up_record_is_valid() -> None:
    records.validate(record())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("commit", ..., "`record.commit` is missing"),
        ("colour", "red", "`record.colour` is not in the schema"),
        ("depth", "1", "`record.depth` must be int, but is '1'"),
        ("depth", True, "`record.depth` must be int, but is True"),
        ("dirty", 0, "`record.dirty` must be bool"),
        ("speed", [], r"`record.speed` must be a list that is not empty"),
        ("speed.0.words", ..., r"`record.speed\[0\].words` is missing"),
        ("speed.1.seconds", ["1"], r"`record.speed\[1\].seconds\[0\]` must be int or float"),
        ("scores.bleu.signature", ..., "`record.scores.bleu.signature` is missing"),
        ("hardware", None, "`record.hardware` must be an object"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        records.validate(changed(path, value))


def test_written_records_are_read_in_order(tmp_path) -> None:
    made = [record("transformer", 2), record("feedback", 10), record("feedback", 2, seed=3)]
    for one in made:
        records.write(one, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["feedback-d10-s1.json", "feedback-d2-s3.json", "transformer-d2-s1.json"]
    assert records.read_all(tmp_path) == [made[2], made[1], made[0]]


def test_an_invalid_record_is_not_written(tmp_path) -> None:
    with pytest.raises(UserError):
        records.write(changed("threads", ...), tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_and_missing_records_are_user_errors(tmp_path) -> None:
    with pytest.raises(UserError, match="must hold records, but holds none"):
        records.read_all(tmp_path)
    path = records.write(record(), tmp_path)
    path.write_text(json.dumps(record())[:-5])
    with pytest.raises(UserError, match="must be JSON, but is damaged"):
        records.read_all(tmp_path)


def test_the_state_of_the_checkout_is_known() -> None:
    commit, dirty = provenance.git_state()
    assert commit == "unknown" or len(commit) == 40
    assert isinstance(dirty, bool)
    assert provenance.cpu_model()
