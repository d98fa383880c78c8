"""A frozen dataclass for each table of a recipe; a stage takes its own and knows no other."""
