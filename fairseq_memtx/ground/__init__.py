"""The ground floor, on which everything else stands: no torch and no fairseq here."""
