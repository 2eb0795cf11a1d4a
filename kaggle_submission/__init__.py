"""Key formats of competitions: one module each, named like the recipe of the competition's data."""
