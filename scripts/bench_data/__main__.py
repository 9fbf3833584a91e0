"""Measure the data preparation: ``python -m scripts.bench_data``."""

from scripts.bench_data.run import main

if __name__ == "__main__":
    raise SystemExit(main())
