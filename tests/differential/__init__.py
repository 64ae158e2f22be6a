"""Our parts beside TorchRL's own DreamerV3, on the same tensors."""
