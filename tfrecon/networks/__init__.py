"""Functional networks, built from typed options."""
