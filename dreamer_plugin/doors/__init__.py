"""Every way in: Python, the command line, other libraries' dialects. Nothing imports a door."""
