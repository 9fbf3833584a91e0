"""The official WMT14 English-German files: addresses, sizes, checksums, and what is taken of them.

A ``None`` checksum means that it could not be learnt where this was written: the first download
records it beside the file, and later runs hold the file to that.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# Each serves the same tree; they are tried in this order.
MIRRORS = (
    "https://www.statmt.org/",
    "https://data.statmt.org/",
    "http://www.statmt.org/",
)


@dataclass(frozen=True)
class Archive:
    """A compressed tar file and the members that are wanted of it.

    Args:
        path: path below a mirror's address.
        size: bytes.
        checksum: "sha256:HEX", "md5:HEX" or ``None`` if unknown.
        members: name in the archive to the name under which it is kept.
    """

    path: str
    size: int
    checksum: str | None
    members: Mapping[str, str]

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Manifest:
    """Archives, and which of their members make which set.

    Args:
        archives: in the order in which they are fetched.
        train: prefixes of the training texts, to the number of lines they should have.
        valid: source and reference SGM file, and the number of segments.
        test: the same.
    """

    archives: tuple[Archive, ...]
    train: Mapping[str, int]
    valid: tuple[str, str, int]
    test: tuple[str, str, int]
    source_lang: str = "en"
    target_lang: str = "de"


def _both(prefix: str, name: str) -> dict[str, str]:
    return {f"{prefix}.{lang}": f"{name}.{lang}" for lang in ("en", "de")}


WMT14_EN_DE = Manifest(
    archives=(
        Archive(
            "wmt13/training-parallel-europarl-v7.tgz",
            657_632_379,
            "sha256:0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
            _both("training/europarl-v7.de-en", "europarl-v7"),
        ),
        Archive(
            "wmt13/training-parallel-commoncrawl.tgz",
            918_311_367,
            "sha256:c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
            _both("commoncrawl.de-en", "commoncrawl"),
        ),
        Archive(
            "wmt14/training-parallel-nc-v9.tgz",
            80_418_416,
            "sha256:cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485",
            _both("training/news-commentary-v9.de-en", "news-commentary-v9"),
        ),
        Archive(
            "wmt14/dev.tgz",
            17_742_707,
            None,
            {
                "dev/newstest2013-src.en.sgm": "newstest2013-src.en.sgm",
                "dev/newstest2013-ref.de.sgm": "newstest2013-ref.de.sgm",
            },
        ),
        Archive(
            "wmt14/test-full.tgz",
            3_255_445,
            "md5:a8cd784e006feb32ac6f3d9ec7eb389a",
            {
                "test-full/newstest2014-deen-src.en.sgm": "newstest2014-src.en.sgm",
                "test-full/newstest2014-deen-ref.de.sgm": "newstest2014-ref.de.sgm",
            },
        ),
    ),
    train={"europarl-v7": 1_920_209, "commoncrawl": 2_399_123, "news-commentary-v9": 201_288},
    valid=("newstest2013-src.en.sgm", "newstest2013-ref.de.sgm", 3000),
    test=("newstest2014-src.en.sgm", "newstest2014-ref.de.sgm", 3003),
)
