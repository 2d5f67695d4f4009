"""Meta's MMS voices."""
