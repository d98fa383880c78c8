"""What the report shows."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option


@dataclass(frozen=True)
class Report:
    """What the report shows beside the figures."""

    thumbnails: str = option(
        "public",
        "whose images may stand in the report as thumbnails; public: those of a data set that is public by name, and "
        "none of own data; always; never",
        choices=("public", "always", "never"),
    )
    num_cases: int = option(
        8,
        "worst mistakes, and decisions that compression changed, that the report lists of each",
        minimum=0,
        maximum=64,
    )

    def shows(self, public: bool) -> bool:
        """Whether images may be shown; ``public`` is whether they are of a data set that is public by name."""
        return self.thumbnails == "always" or (self.thumbnails == "public" and public)
