"""Run an experiment: ``python -m scripts.experiment``."""

from scripts.experiment.run import main

if __name__ == "__main__":
    raise SystemExit(main())
