"""What verification says of a shipped model: pure functions of probabilities, labels and images."""

SCORES_FILE, DISAGREEMENTS_FILE = "scores.npz", "disagreements.csv"
"""What it leaves in the run folder."""

FINDINGS = (
    *("scores", "recall_changes", "operating_points", "disagreements", "subgroups"),
    *("robustness", "out_of_distribution", "preprocessing_faults"),
)
"""Its facts that go into the report under these names; None where they were not asked for."""
