"""Parallel text to fairseq data: download, extract, clean, subwords, binarise.

Run from the checkout as ``python -m data_prep COMMAND`` (see ``--help``). The rooms, in the order
in which a sentence passes through them: ``manifest`` and ``download``, ``extract`` and ``sgm``,
``corpus``, ``clean``, ``duplicates``, ``spm``, ``encode``, ``binarise``. What is done to a line of
text is in ``fairseq_memtx.ground.text``, which translating shares. ``pipeline`` puts the stages in
order, ``stamps`` decides what is still to be done.
"""

__version__ = "0.1.0"
