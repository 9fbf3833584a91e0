"""Parts of `scripts.studies.sweep_error`: the decoders whose sweeps are looked at."""
