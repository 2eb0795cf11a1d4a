"""Key formats of competitions: one module each."""
