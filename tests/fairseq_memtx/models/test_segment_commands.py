"""fairseq's own commands train and search with the segment decoders, segments being short."""

import pytest

from tests.fairseq_memtx import fairseq_commands as fairseq

SHORT = "--memtx-segment-len 4 --memtx-mem-len 4"
CASES = {
    "memtx_transformer_xl_tiny": f"{SHORT} --memtx-same-length --criterion cross_entropy",
    "memtx_compressive_tiny": f"{SHORT} --memtx-cmem-len 4 --memtx-compression-rate 2"
    " --clip-norm 0.1 --update-freq 1,2 --criterion memtx_compression --label-smoothing 0.1",
}


@pytest.mark.parametrize(
    "arch",
    ["memtx_compressive_tiny", pytest.param("memtx_transformer_xl_tiny", marks=pytest.mark.slow)],
)
def test_train_and_generate(arch, prepared_sample, tmp_path):
    common = [prepared_sample / "bin", "--user-dir", "fairseq_memtx", "--task", "translation"]
    common += ["-s", "en", "-t", "de", "--cpu", "--no-progress-bar", "--num-workers", 0]
    flags = f"--arch {arch} --optimizer adam --lr 1e-3 --max-tokens 800 --max-update 3"
    flags += f" --save-dir {tmp_path} --no-epoch-checkpoints {CASES[arch]}"
    trained = fairseq.run("train", *common, *flags.split())
    assert trained.returncode == 0, trained.stderr
    logged = trained.stdout + trained.stderr
    assert ("compression_loss" in logged) == ("compressive" in arch)
    found = fairseq.run(
        "generate", *common, "--path", tmp_path / "checkpoint_last.pt", "--gen-subset", "valid",
        "--beam", 3, "--max-len-b", 30, "--batch-size", 16,
        "--model-overrides", "{'memtx_eval_mem_len': 8, 'memtx_segment_len': 8}",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    lines = (prepared_sample / "refs" / "valid.de").read_text(encoding="utf-8").count("\n")
    assert sum(line.startswith("H-") for line in found.stdout.split("\n")) == lines


def test_an_impossible_option_ends_in_one_line(prepared_sample, tmp_path):
    common = [prepared_sample / "bin", "--user-dir", "fairseq_memtx", "--task", "translation"]
    flags = f"--arch memtx_compressive_tiny --memtx-segment-len 6 --save-dir {tmp_path}"
    flags += " --optimizer adam --criterion memtx_compression --max-tokens 800 --cpu"
    refused = fairseq.run("train", *common, "-s", "en", "-t", "de", *flags.split())
    assert refused.returncode != 0
    assert refused.stderr.strip().split("\n")[-1] == (
        "error: --memtx-segment-len is 6: it has to be a multiple of --memtx-compression-rate 4"
    )
    assert "Traceback" not in refused.stderr
