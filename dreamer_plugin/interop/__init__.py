"""Other frameworks' modules and weights."""
