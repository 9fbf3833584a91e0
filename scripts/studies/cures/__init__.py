"""Parts of `scripts.studies.remedies`: its table."""
