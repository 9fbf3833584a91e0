"""Parts of `scripts.studies.documents`: what it compares, its table, sentences joined."""
