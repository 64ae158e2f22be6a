"""What to do in the world: imagination, actor, critic and their losses."""
