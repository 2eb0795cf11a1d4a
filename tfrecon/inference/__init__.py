"""Trained models and methods applied to photos: exports, folders, submissions."""
