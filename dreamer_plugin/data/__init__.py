"""Frames in, batches out: alignment, replay, train ratio, collection."""
