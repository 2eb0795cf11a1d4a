"""tfrecon: learned image reconstruction in Keras."""
