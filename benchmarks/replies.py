"""What a right reply sounds like, and how a received one is checked against it."""

import numpy as np

from benchmarks.units import FRAME_BYTES, SAMPLE_RATE_HZ

SENTENCES = 2
TONE_SAMPLES = SAMPLE_RATE_HZ * 600 // 1000
GAP_SAMPLES = SAMPLE_RATE_HZ * 100 // 1000
REPLY_SAMPLES = SENTENCES * (TONE_SAMPLES + GAP_SAMPLES)
PITCH_TOLERANCE_HZ = 2.0
"""Both the service's hearing and this ear may be 1 Hz off; callers are at least 8 Hz apart."""
PURE = 0.98
"""The share of a sentence's energy that must lie in its tone: one foreign 20 ms block in the middle makes it less."""
QUIET = 0.01
"""The loudest sample that may be between the sentences, as a share of full scale."""
_EDGE_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
"""Both ends of a tone, where the sound may fade, are left out."""
_SHORTEST_SAMPLES = SAMPLE_RATE_HZ * 100 // 1000
"""A shorter tone does not tell its pitch well enough."""


def tone_of(samples: np.ndarray) -> tuple[float, float]:
    """The pitch in Hz of the strongest tone (to about 0.2 Hz), and the share of the energy within 15 Hz of it, 0..1."""
    audio = samples.astype(np.float64)
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
    energy = float(spectrum.sum())
    if energy <= 0:
        return 0.0, 0.0
    step_hz = SAMPLE_RATE_HZ / len(audio)
    peak = min(max(1, int(spectrum.argmax())), len(spectrum) - 2)
    before, at, after = np.log(spectrum[peak - 1 : peak + 2] + 1e-9)
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend else 0.0
    around = max(2, round(15 / step_hz))
    share = float(spectrum[max(0, peak - around) : peak + around + 1].sum()) / energy
    return float((peak + shift) * step_hz), share


def fault_of(blocks: list[bytes], pitch_hz: float) -> str | None:
    """What is wrong with a finished reply, in one word and its figure, or None.

    `incomplete`: samples are missing. `excess`: more than one block too many. `block`: not the caller's own block size.
    `wrong`: another pitch, something in the tone that is not the tone, or sound where the gap should be.
    """
    samples = sum(map(len, blocks)) // 2
    if samples < REPLY_SAMPLES:
        return f"incomplete: {samples} of {REPLY_SAMPLES} samples"
    if samples > REPLY_SAMPLES + FRAME_BYTES // 2:
        return f"excess: {samples} samples for {REPLY_SAMPLES}"
    return fault_so_far(blocks, pitch_hz)


def fault_so_far(blocks: list[bytes], pitch_hz: float) -> str | None:
    """What is wrong with a reply that was cut short, as far as it came: `block` or `wrong`, as above."""
    odd = next((block for block in blocks if len(block) != FRAME_BYTES), None)
    if odd is not None:
        return f"block: {len(odd)} bytes for {FRAME_BYTES}"
    audio = np.frombuffer(b"".join(blocks), dtype="<i2")[:REPLY_SAMPLES]
    for start in range(0, len(audio), TONE_SAMPLES + GAP_SAMPLES):
        end = start + TONE_SAMPLES
        sentence = audio[start + _EDGE_SAMPLES : end - _EDGE_SAMPLES]
        if len(sentence) >= _SHORTEST_SAMPLES:
            heard_hz, share = tone_of(sentence)
            if abs(heard_hz - pitch_hz) > PITCH_TOLERANCE_HZ:
                return f"wrong: {heard_hz:.1f} Hz for {pitch_hz:.1f}"
            if share < PURE:
                return f"wrong: only {share:.0%} of the sound is the tone"
        gap = audio[end : end + GAP_SAMPLES].astype(np.int32)
        if len(gap) and np.abs(gap).max() > QUIET * 32768:
            return "wrong: sound between the sentences"
    return None
