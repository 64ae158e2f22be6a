"""Tests, mirrored on the tree they test."""
