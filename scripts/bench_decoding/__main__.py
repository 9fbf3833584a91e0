"""Measure decoding speed and quality: ``python -m scripts.bench_decoding``."""

from scripts.bench_decoding.run import main

if __name__ == "__main__":
    raise SystemExit(main())
