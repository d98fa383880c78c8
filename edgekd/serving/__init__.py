"""The student on a server: as a SavedModel and as ONNX, in batches, by images per second and their price."""
