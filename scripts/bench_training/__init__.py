"""What training costs: speed, memory, and where the time goes."""
