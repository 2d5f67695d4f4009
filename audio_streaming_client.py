"""Speak to a speech-to-speech endpoint and hear its replies, or send a WAV file and keep the replies as one.

    python audio_streaming_client.py --api_url http://localhost:8000
    python audio_streaming_client.py --api_url https://example.com --input question.wav --output reply.wav

It is half duplex: while a reply comes in or sounds, the microphone is shut. With --full_duplex it stays open, and
speaking over a reply stops it. A service that has a token gets it from S2S_API_TOKEN or --auth_token.
docs/protocol.md describes the wire; the parts are in speech_to_speech/client/.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from speech_to_speech.audio.mp3_frames import LOW_KBPS as BITRATES_KBPS
from speech_to_speech.client.address import auth_headers, is_exposed, websocket_url
from speech_to_speech.client.codec import Codec, Compression, Mp3, Pcm, require_mp3
from speech_to_speech.client.console import Console
from speech_to_speech.client.errors import ClientError, UsageError
from speech_to_speech.client.reply_file import ReplyFile
from speech_to_speech.client.sound import sound_card, sound_library
from speech_to_speech.client.talk import talk
from speech_to_speech.client.turns import Journal
from speech_to_speech.client.wav import FileSource, read_wav
from speech_to_speech.frames import SAMPLE_RATE_HZ


def main(argv: Sequence[str] | None = None) -> int:
    """Run the client; returns the exit code: 0, 1 (failed while running), 2 (cannot run like this), 130 (Ctrl-C)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        options = parse(argv)
        if options.list_devices:
            print(sound_library().query_devices() or "no sound devices")
            return 0
        paced = options.full_duplex or options.input is None
        bitrate_kbps = options.bitrate_kbps if options.codec == "mp3" else None
        if bitrate_kbps:
            require_mp3()
        url = websocket_url(options.api_url, paced, options.full_duplex, bitrate_kbps)
        headers = auth_headers(url, options.auth_token, os.environ)
    except ClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    console, journal, compression, code = Console(options.verbose), Journal(), Compression(), 0
    new_codec = functools.partial(Mp3, compression, bitrate_kbps) if bitrate_kbps else Pcm
    if headers and is_exposed(url):
        console.note("warning: a token goes out unencrypted; use https:// or wss:// if the service has it")
    try:
        (run_file if options.input else run_live)(url, headers, options, new_codec, journal, console)
    except KeyboardInterrupt:
        code = 130 if options.input else 0
    except (ClientError, OSError) as error:
        console.note(f"error: {error}")
        code = getattr(error, "exit_code", 1)
    if code != UsageError.exit_code:
        console.line(journal.summary() + (f"\n{compression.summary()}" if bitrate_kbps else ""))
    if options.json:
        try:
            options.json.write_text(
                json.dumps([turn.summary() for turn in journal.turns], indent=2, ensure_ascii=False)
            )
        except OSError as error:
            console.note(f"error: cannot write --json {options.json}: {error.strerror}")
            code = code or 1
    return code


def run_live(
    url: str,
    headers: list[str],
    options: argparse.Namespace,
    new_codec: Callable[[], Codec],
    journal: Journal,
    console: Console,
) -> None:
    """Microphone to service to loudspeaker, until Ctrl-C."""
    latency_s = options.output_latency_ms and options.output_latency_ms / 1000
    devices = options.input_device, options.output_device, latency_s
    with sound_card(options.sample_rate, options.chunk_size, *devices, console) as (microphone, speaker):
        talk(url, headers, microphone, speaker, journal, console, options.start_timeout, options.full_duplex, new_codec)


def run_file(
    url: str,
    headers: list[str],
    options: argparse.Namespace,
    new_codec: Callable[[], Codec],
    journal: Journal,
    console: Console,
) -> None:
    """File to service to file. Raises ClientError if no reply came."""
    source = FileSource(read_wav(options.input), options.chunk_size)
    with contextlib.closing(ReplyFile(options.output, real_time=options.full_duplex)) as replies:
        talk(url, headers, source, replies, journal, console, options.start_timeout, options.full_duplex, new_codec)
    if not journal.received_ms:
        why = journal.error or ("the reply was empty" if journal.turn_count else "the service heard no speech in it")
        raise ClientError(f"no reply to {options.input}: {why}")


FULL_DUPLEX = """speak while a reply sounds, and it stops (not for a cough or an mm-hmm). The service guards against
its own echo, but headphones or an echo-cancelling microphone are better. A file is sent in real time and does not wait
for replies (paced=1), and --output gets what would have been heard of them"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (--help lists the options)")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. Raises UsageError."""

    def device(text: str) -> int | str:
        return int(text) if text.isdecimal() else text

    parser = Parser(description="Speak to a speech-to-speech endpoint and hear its replies.")
    add = parser.add_argument
    add("--api_url", help="http(s):// or ws(s)://; /ws is the path if there is none")
    add("--auth_token", help="sent as a bearer token; for Hugging Face endpoints, HF_TOKEN is the default")
    add("--sample_rate", type=int, default=SAMPLE_RATE_HZ, help="of the sound card in Hz (%(default)s)")
    add("--chunk_size", type=int, default=1024, help="samples at 16 kHz in one message (%(default)s)")
    add("--input_device", type=device, help="number, or part of the name, of the microphone")
    add("--output_device", type=device, help="number, or part of the name, of the loudspeaker")
    add("--output_latency_ms", type=int, help="sound kept in the sound card's buffer; more where replies crackle")
    add("--list_devices", action="store_true", help="list the sound devices and end")
    add("--input", type=Path, metavar="QUESTION.wav", help="send this file instead of the microphone's sound")
    add("--output", type=Path, metavar="REPLY.wav", help="write the replies here instead of playing them")
    add("--full_duplex", action="store_true", help=FULL_DUPLEX)
    add("--codec", choices=("pcm", "mp3"), default="pcm", help="how sound travels both ways (%(default)s)")
    add("--bitrate_kbps", type=int, choices=BITRATES_KBPS, default=64, metavar="KBPS", help="of MP3 (%(default)s)")
    add("--json", type=Path, metavar="REPORT.json", help="write what was said and how long each turn took")
    add("--start_timeout", type=float, default=600.0, help="seconds to wait for an endpoint to start (%(default)s)")
    add("--verbose", action="store_true", help="show every event")
    options = parser.parse_args(argv)
    if not options.api_url and not options.list_devices:
        parser.error("--api_url is needed, for example --api_url http://localhost:8000")
    if (options.input is None) != (options.output is None):
        parser.error("--input and --output belong together")
    for name, low, high in (
        ("sample_rate", 8000, 192_000),
        ("chunk_size", 64, 16_000),
        ("output_latency_ms", 1, 500),
        ("start_timeout", 0, 86_400),
    ):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            parser.error(f"--{name} must be between {low} and {high}")
    return options


if __name__ == "__main__":
    sys.exit(main())
