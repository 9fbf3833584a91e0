"""How fast and how large the preparation is: measurements, their records, and the table of them."""
