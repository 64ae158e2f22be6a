"""Parity with the official code: every stored array reproduced by the package."""
