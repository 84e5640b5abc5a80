"""Behaviours of single resource types; see ../types/README.md."""
