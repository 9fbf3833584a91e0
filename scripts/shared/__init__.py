"""What experiments, benchmarks and studies share: clocks, turns, records, tables, plots."""
