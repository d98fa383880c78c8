"""The charts of the report, one module each: from plain figures to what a template puts in its place."""
