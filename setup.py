"""Packaging of fairseq_memtx; the pinned environment for the README's commands is requirements/."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
NAME_FOR_FAIRSEQ = """\
An editable install. fairseq looks here for something of the name after `--user-dir` before it
imports it; Python takes no notice of this file and finds the package in its checkout.
"""


class BuildWithName(build_py):
    """With `pip install -e`, a file of our name beside fairseq, so that the bare name is found."""

    def run(self) -> None:
        """Build as usual, or write the file."""
        super().run()
        if self.editable_mode:
            site_packages = Path(self.get_finalized_command("install").install_lib)
            (site_packages / "fairseq_memtx").write_text(NAME_FOR_FAIRSEQ, encoding="utf-8")


def read_version() -> str:
    """Take the version from the package without importing it (and fairseq with it)."""
    for line in (HERE / "fairseq_memtx" / "__init__.py").read_text(encoding="utf-8").split("\n"):
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise RuntimeError("fairseq_memtx/__init__.py does not set __version__")


setup(
    name="fairseq-memtx",
    version=read_version(),
    description="Feedback Transformer and other memories for fairseq's translation models",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The memtx authors",
    license="MIT",
    license_files=["LICENSE"],
    # `data_prep` is a room of its own in the checkout, where `python -m data_prep` serves whoever
    # works on it. Installed, it lies below our package: a name as common as that does not belong to
    # us in somebody's site-packages. Its modules import each other relatively, so that both places
    # will do. `scripts` and `tests` are never installed: they are for this checkout alone.
    package_dir={"fairseq_memtx.data_prep": "data_prep"},
    packages=[
        *find_packages(include=["fairseq_memtx", "fairseq_memtx.*"]),
        *(f"fairseq_memtx.{name}" for name in find_packages(include=["data_prep", "data_prep.*"])),
    ],
    package_data={
        "fairseq_memtx": ["py.typed"],
        "fairseq_memtx.explain": ["page.html", "page.css", "page.js"],
        "fairseq_memtx.serving": ["page.html", "page.css", "page.js"],
        "fairseq_memtx.native": ["src/*.h", "src/*.cpp", "built/*.so"],
    },
    cmdclass={"build_py": BuildWithName},
    entry_points={"console_scripts": ["memtx = fairseq_memtx.commands.main:main"]},
    python_requires=">=3.11",
    # fairseq is left out on purpose: two distributions (fairseq and fairseq-fixed) install the
    # same package, so naming one would overwrite the other where that is already in use.
    install_requires=[
        "torch>=2.10",
        "numpy>=1.26",
        "safetensors>=0.5",
        "sentencepiece>=0.2.3",
        "sacrebleu>=2.4",
        "sacremoses>=0.1",
        "tqdm>=4.60",
        "matplotlib>=3.8",
    ],
    extras_require={
        "fairseq": ["fairseq-fixed>=0.12.3.1,<0.13"],
        "completion": ["argcomplete>=3.1"],
        "serve": ["starlette>=0.40", "uvicorn>=0.30", "prometheus-client>=0.20"],
        "tensorboard": ["tensorboardX>=2.6"],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Text Processing :: Linguistic",
    ],
)
