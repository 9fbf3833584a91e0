"""Measure what training costs: ``python -m scripts.bench_training``."""

from scripts.bench_training.run import main

if __name__ == "__main__":
    raise SystemExit(main())
