"""Whether a person who falls silent has finished, or pauses in the middle."""
