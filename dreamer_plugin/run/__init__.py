"""Running things: the loop, checkpoints, metrics, evaluation."""
