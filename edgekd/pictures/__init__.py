"""The report's pictures, one module each; they take plain figures and give what a template puts in its place."""
