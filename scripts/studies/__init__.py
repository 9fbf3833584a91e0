"""Studies of one question each; every one stands alone and has its records under results/."""
