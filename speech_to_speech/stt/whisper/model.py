"""Whisper's two networks on their device: sound into the encoder, tokens through the decoder, batch by batch.

Eager, or compiled by torch.compile. A compiled step has fixed shapes: its cache is as long as a text may be (a static
cache), and batches are filled up to a few sizes. Each size keeps a cache of its own, since CUDA graphs write to the
addresses that they were recorded with, and both are bound to the thread that recorded them.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from speech_to_speech.audio.samples import Samples
from speech_to_speech.frames import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import torch


class Batch:
    """Some windows of sound on their way through the decoder."""

    def __init__(self, encoded: "torch.Tensor", cache: Any) -> None:
        self.encoded = encoded
        """float [rows, positions, width]: what the encoder makes of the sound."""
        self.anchor = encoded[:, :1].clone()
        """The part that stands for `encoded` once the cache has what the decoder needs of that."""
        self.rows = len(encoded)
        self.cache = cache
        self.length = 0
        """How many tokens the decoder has read."""


class WhisperModel:
    """`model` is a WhisperForConditionalGeneration, `extractor` its WhisperFeatureExtractor; no text of a batch is
    longer than `length_limit` tokens, its prompt included. Call everything with gradients off."""

    def __init__(
        self, model: Any, extractor: Any, *, length_limit: int, batch_limit: int, compile_mode: str | None = None
    ) -> None:
        import torch

        self._model = model
        self._extractor = extractor
        self._length_limit = length_limit
        self.sizes = sorted({min(1 << power, batch_limit) for power in range(batch_limit.bit_length() + 1)})
        """The batches that are compiled: 1, 2, 4, ... rows."""
        self._compiled = compile_mode is not None
        self._caches: dict[int, Any] = {}
        self._cache_config = copy.deepcopy(model.config)
        self._cache_config.num_hidden_layers = model.config.decoder_layers  # a Whisper's own number is its encoder's
        self._encode: Callable[[torch.Tensor], torch.Tensor] = self._through_encoder
        self._step: Callable[..., torch.Tensor] = self._through_decoder
        if compile_mode is not None:
            allowed = torch._dynamo.config
            allowed.recompile_limit = max(allowed.recompile_limit, len(self.sizes))  # each size is one more compilation
            self._encode = torch.compile(self._through_encoder, mode=compile_mode, dynamic=False)
            self._step = torch.compile(self._through_decoder, mode=compile_mode, dynamic=False)
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.longest = int(extractor.n_samples)
        """How many samples a window may have: 30 s, in most checkpoints."""

    def listen(self, windows: Sequence[Samples]) -> Batch:
        """All windows (float, 16 kHz, each at most `longest`) through the encoder at once.

        A batch may have more rows than windows; the others are empty.
        """
        import torch

        features = self.features(windows)
        if not self._compiled:
            return Batch(self._encode(features), self._new_cache())
        rows = next(size for size in self.sizes if size >= len(windows))
        filled = torch.nn.functional.pad(features, (0, 0, 0, 0, 0, rows - len(windows)))
        self._begin_graph()
        # `read` says why this is a copy.
        return Batch(self._encode(filled).clone(), self._static_cache(rows))

    def features(self, windows: Sequence[Samples]) -> "torch.Tensor":
        """The log-mel spectrograms of windows, [windows, mels, frames], on the model's device and in its precision.

        As the extractor makes them of the whole 30 s, but for the silence after the longest window it is known what
        comes out. A whole one takes a core 25 ms; on a GPU it is done there.
        """
        extractor = self._extractor
        hops = -(
            -(max(map(len, windows)) + extractor.n_fft) // extractor.hop_length
        )  # the hops include silence at the end
        features: torch.Tensor = extractor(
            list(windows),
            sampling_rate=SAMPLE_RATE_HZ,
            max_length=min(hops * extractor.hop_length, extractor.n_samples),
            return_tensors="pt",
            device=str(self.device) if self.device.type == "cuda" else "cpu",
        ).input_features
        # The logarithm of silence, 1e-10, is -10. No value is more than 8 below the loudest. The scale is (x + 4) / 4.
        floor = (features.amax(dim=(1, 2)) - 2.0).clamp(min=-1.5)
        whole = floor[:, None, None].repeat(1, features.shape[1], extractor.nb_max_frames)
        whole[:, :, : features.shape[2]] = features
        return whole.to(self.device, self.dtype)

    def read(self, batch: Batch, tokens: "torch.Tensor") -> "torch.Tensor":
        """The decoder reads `tokens`, int64 [rows, n], after those that it has read already.

        Returns: float32 [rows, vocabulary], the logits of the token that comes next.
        """
        import torch

        count = tokens.shape[1]
        positions = torch.arange(batch.length, batch.length + count, device=self.device).repeat(batch.rows, 1)
        first = batch.length == 0
        batch.length += count
        if first or count > 1:  # the first step fills the cache of the encoder's output, and is not worth a graph
            return self._through_decoder(tokens, positions, batch.encoded, batch.cache).float()
        self._begin_graph()
        # The decoder only looks whether there is an encoder, and a CUDA graph copies its arguments: hence the anchor.
        # The result is copied too, since the original is gone when the next graph runs.
        return self._step(tokens, positions, batch.anchor, batch.cache).to(torch.float32, copy=True)

    def read_all(self, tokens: "torch.Tensor", encoded: "torch.Tensor") -> "torch.Tensor":
        """Without a cache: float32 [rows, n, vocabulary], the logits after each of `tokens` [rows, n]."""
        output = self._model.model.decoder(input_ids=tokens, encoder_hidden_states=encoded, use_cache=False)
        logits: torch.Tensor = self._model.proj_out(output.last_hidden_state).float()
        return logits

    def _begin_graph(self) -> None:
        """What earlier CUDA graphs have given out is not needed any more."""
        import torch

        if self._compiled and self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()

    def _through_encoder(self, features: "torch.Tensor") -> "torch.Tensor":
        encoded: torch.Tensor = self._model.model.encoder(features).last_hidden_state
        return encoded

    def _through_decoder(
        self, tokens: "torch.Tensor", positions: "torch.Tensor", encoded: "torch.Tensor", cache: Any
    ) -> "torch.Tensor":
        import torch

        mask = None
        if self._compiled:  # the mask shows the part of the static cache that has been written
            places = torch.arange(self._length_limit, device=self.device)
            mask = places[None, None, None, :] <= positions[:, None, :, None]
        output = self._model.model.decoder(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            encoder_hidden_states=encoded,
            past_key_values=cache,
            use_cache=True,
        )
        logits: torch.Tensor = self._model.proj_out(output.last_hidden_state[:, -1])
        return logits

    def _new_cache(self) -> Any:
        from transformers import DynamicCache, EncoderDecoderCache

        return EncoderDecoderCache(DynamicCache(config=self._cache_config), DynamicCache(config=self._cache_config))

    def _static_cache(self, rows: int) -> Any:
        """The one of batches with so many rows, empty."""
        from transformers import EncoderDecoderCache, StaticCache

        if rows not in self._caches:
            config = self._cache_config
            self._caches[rows] = EncoderDecoderCache(
                StaticCache(config=config, max_cache_len=self._length_limit),
                StaticCache(config=config, max_cache_len=config.max_source_positions),
            )
        else:
            self._caches[rows].reset()
        return self._caches[rows]
