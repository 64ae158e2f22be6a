"""How large the seeds are that simulators take; larger ones are taken modulo these."""

SEED_LIMIT = 2**31  # where a seed is a signed number of 32 bits
WIDE_SEED_LIMIT = 2**32  # where it is an unsigned one
