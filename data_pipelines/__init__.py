"""Recipes: which files a data set has, how they pair and which split each belongs to."""
