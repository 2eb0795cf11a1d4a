"""Scores, baselines, tables and pictures of a model on a split."""
