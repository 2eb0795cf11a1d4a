"""Runs that were scored on the same images, compared: statistics, sentences, figures, one page."""
