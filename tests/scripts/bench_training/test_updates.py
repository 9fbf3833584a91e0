"""The benchmarks of whole updates and of the loss: what they compare is the same computation."""

from pathlib import Path

import pytest

from scripts.bench_training import losses, updates
from scripts.bench_training.trainings import Training
from scripts.shared.benchmark import read_records
from scripts.shared.contenders import build

TINY = (1, 64, 3, 6, 40, 1)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(updates.SIZES, "tiny", TINY)
    monkeypatch.setattr(losses, "CASES", ((20, 8, 30),))


@pytest.mark.parametrize("arch", updates.ARCHITECTURES)
def test_all_ways_to_compute_train_the_same(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairseq_memtx.tasks.computing.has_bfloat16", lambda: True)
    case = updates.make_case("tiny")
    batch, found = updates.make_batch(case), {}
    for math in ("stock", *updates.MATHS):
        model = build(case, arch, **updates.ARCHITECTURES[arch])
        for module in model.modules():
            module.p = 0.0  # of dropout, whose masks differ
        training = Training(model.eval().requires_grad_(), math, case.vocab, batch)
        training.model.train = lambda mode=True: None
        losses_of = []
        for _ in range(3):
            training.update()
            losses_of.append(training.loss)
        found[math] = losses_of
    assert found["stock"][2] < found["stock"][0]
    for math in ("torch", "float32"):
        assert found[math] == pytest.approx(found["stock"], rel=1e-4), math
    assert found["bfloat16"] == pytest.approx(found["stock"], rel=0.02)


def test_a_batch_is_padded_as_fairseqs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(updates.SIZES, "tiny", (1, 64, 30, 20, 40, 1))
    batch = updates.make_batch(updates.make_case("tiny"))
    source, target = batch["net_input"]["src_tokens"], batch["target"]
    assert source[:, -1].ne(1).all() and target[:, 0].ne(1).all()
    assert 0 < int(target.eq(1).sum()) <= 0.1 * target.numel()
    assert batch["ntokens"] == int(target.ne(1).sum())
    assert batch["net_input"]["src_lengths"].tolist() == source.ne(1).sum(1).tolist()


@pytest.mark.slow
def test_records_and_page(tmp_path: Path) -> None:
    line = ["--sizes", "tiny", "--archs", "transformer,memtx_feedback", "--rounds", "2"]
    for _ in range(2):
        assert updates.main([*line, "--out", str(tmp_path)]) == 0
    (record,) = read_records(tmp_path / "updates.jsonl")
    assert record["size"] == "tiny" and record["tokens"] > 0
    for one in record["contenders"].values():
        assert len(one["seconds"]) == 2 and 0.0 < one["products_share"] < 1.0
    page = (tmp_path / "updates.md").read_text()
    assert page.count("| tiny |") == len(record["contenders"])
    assert "stock update by torch's profiler" in page
    assert ("No row for bfloat16" in page) != record["bfloat16"]
    (tmp_path / "updates.md").unlink()
    assert updates.main(["--table-only", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "updates.md").read_text() == page


def test_ratios_are_to_stock_and_to_the_transformer_with_equal_products() -> None:
    seconds = {"transformer stock": 4.0, "transformer float32": 2.0, "memtx_feedback stock": 6.0,
               "memtx_feedback float32": 2.4}  # fmt: skip
    contenders = {name: {"seconds": [s], "peak_bytes": None} for name, s in seconds.items()}
    record = {"size": "tiny", "tokens": 100, "contenders": contenders}
    rows = {(row[1], row[2]): row[4:7] for row in updates.size_rows(record)}
    assert rows["transformer", "float32"] == ("50", "2.00", "1.00")
    assert rows["memtx_feedback", "float32"] == ("42", "2.50", "1.20")
    assert rows["memtx_feedback", "stock"] == ("17", "1.00", "1.50")


def test_the_loss_has_its_page(tmp_path: Path) -> None:
    assert losses.main(["--rounds", "2", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "losses.md").read_text()
    for name in (losses.WHOLE, losses.PIECES, losses.PRODUCTS):
        assert f"| {name} |" in page


def test_an_unknown_size_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        updates.main(["--sizes", "huge"])
    assert "'huge' is none of multi30k" in capsys.readouterr().err
