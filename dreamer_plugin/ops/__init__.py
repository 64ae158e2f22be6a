"""Pure mathematics: tensors in, tensors out. No module, no TensorDict, no config."""
