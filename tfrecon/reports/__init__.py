"""Scores of runs, compared: tables, pictures, statistics, one page."""
