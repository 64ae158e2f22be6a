"""Studies of the agent: what it costs, and how fast it is."""
