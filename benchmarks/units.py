"""The constants that every measurement shares."""

SAMPLE_RATE_HZ = 16_000
FRAME_MS = 20
FRAME_SAMPLES = SAMPLE_RATE_HZ * FRAME_MS // 1000
FRAME_BYTES = 2 * FRAME_SAMPLES
FRAMES_PER_MINUTE = 60_000 // FRAME_MS
WINDOW_SAMPLES = 512
"""The VAD model takes so many samples at a time: 32 ms."""
WINDOWS_PER_MINUTE = 60 * SAMPLE_RATE_HZ / WINDOW_SAMPLES


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least `percent` of `values` do not exceed (nearest rank); NaN without values."""
    if not values:
        return float("nan")
    rank = -(-len(values) * percent // 100)  # the quotient is rounded up
    return sorted(values)[max(0, int(rank) - 1)]
