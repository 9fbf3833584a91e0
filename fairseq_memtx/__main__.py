"""`python -m fairseq_memtx` is `memtx`."""

from fairseq_memtx.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
