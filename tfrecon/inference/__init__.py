"""Models and methods applied to photos: exports, folders of photos, submissions."""
