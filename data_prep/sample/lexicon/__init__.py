"""Our own bilingual lexicon: every entry holds an English word beside its German one."""
