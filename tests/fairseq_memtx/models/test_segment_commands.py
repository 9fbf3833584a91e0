"""fairseq's own commands train and search with the segment decoders, segments being short."""

import pytest

from tests.choosing import some
from tests.reliability.fairseq_commands import run

SHORT = "--memtx-segment-len 4 --memtx-mem-len 4"
CASES = {
    "memtx_transformer_xl_tiny": f"{SHORT} --memtx-same-length --criterion cross_entropy",
    "memtx_compressive_tiny": f"{SHORT} --memtx-cmem-len 4 --memtx-compression-rate 2"
    " --clip-norm 0.1 --update-freq 1,2 --criterion memtx_compression --label-smoothing 0.1",
}


@pytest.mark.parametrize("arch", some(reversed(CASES), 2))
def test_train_and_generate(arch, prepared_sample, tmp_path):
    common = [str(prepared_sample / "bin"), "--user-dir", "fairseq_memtx", "--task", "translation"]
    common += ["-s", "en", "-t", "de", "--cpu", "--no-progress-bar", "--num-workers", "0"]
    flags = f"--arch {arch} --optimizer adam --lr 1e-3 --max-tokens 800 --max-update 3"
    flags += f" --save-dir {tmp_path} --no-epoch-checkpoints {CASES[arch]}"
    trained = run("train", [*common, *flags.split()])
    assert trained.refused is None, trained.refused
    assert ("compression_loss" in trained.out + trained.log) == ("compressive" in arch)
    found = run("generate", [
        *common, "--path", str(tmp_path / "checkpoint_last.pt"), "--gen-subset", "valid",
        "--beam", "3", "--max-len-b", "30", "--batch-size", "16",
        "--model-overrides", "{'memtx_eval_mem_len': 8, 'memtx_segment_len': 8}",
    ])  # fmt: skip
    assert found.refused is None, found.refused
    lines = (prepared_sample / "refs" / "valid.de").read_text(encoding="utf-8").count("\n")
    assert sum(line.startswith("H-") for line in found.out.split("\n")) == lines


def test_an_impossible_option_is_refused_in_one_line(prepared_sample, tmp_path):
    common = [str(prepared_sample / "bin"), "--user-dir", "fairseq_memtx", "--task", "translation"]
    flags = f"--arch memtx_compressive_tiny --memtx-segment-len 6 --save-dir {tmp_path}"
    flags += " --optimizer adam --criterion memtx_compression --max-tokens 800 --cpu"
    assert run("train", [*common, "-s", "en", "-t", "de", *flags.split()]).refused == (
        "--memtx-segment-len is 6: it has to be a multiple of --memtx-compression-rate 4"
    )
