"""The experiment pipeline: prepare, train, average, generate, measure, report; see `run`."""
