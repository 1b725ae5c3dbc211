"""Names of body parameters and hosted tools that APIs are known to have: what a misspelt one is compared with. Pure.

Not what the gateway lets through: a provider may have others, and none is refused for not standing here. From the API
references of OpenAI and Anthropic, and what those who speak OpenAI's dialect commonly add.
"""

from __future__ import annotations

from gateway.reading import OUTPUT_NAMES, READ_KEYS
from gateway.shapes.table import SHAPES

_OF_MODELS = frozenset((
    "audio", "cache_control", "container", "context_management", "dimensions", "encoding_format", "frequency_penalty",
    "function_call", "include", "inference_geo", "input", "logit_bias", "logprobs", "max_tool_calls", "mcp_servers",
    "messages", "metadata", "modalities", "moderation", "n", "output_config", "parallel_tool_calls", "prediction",
    "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "speed", "stop",
    "stop_sequences", "temperature", "text", "thinking", "top_k", "top_logprobs", "top_p", "truncation", "verbosity",
    "web_search_options",
))  # fmt: skip
_OF_MEDIA = frozenset((
    "background", "chunking_strategy", "file", "image", "input_fidelity", "instructions", "known_speaker_names",
    "known_speaker_references", "language", "mask", "output_compression", "output_format", "partial_images", "quality",
    "seconds", "size", "style", "timestamp_granularities", "voice",
))  # fmt: skip
_OF_OTHERS = frozenset((
    "documents", "enable_thinking", "include_reasoning", "min_p", "min_tokens", "models", "prompt_mode", "provider",
    "random_seed", "reasoning_format", "reasoning_split", "repetition_penalty", "safe_prompt", "search_parameters",
    "stop_token_ids", "top_a", "top_n", "transforms", "typical_p",
))  # fmt: skip
PARAMETERS: frozenset[str] = frozenset().union(
    _OF_MODELS, _OF_MEDIA, _OF_OTHERS, OUTPUT_NAMES, (name.decode() for name in READ_KEYS),
    *(shape.takes or () for shape in SHAPES.values()),
)  # fmt: skip
TOOL_TYPES = frozenset((
    "apply_patch", "bash", "browser_search", "code_execution", "code_interpreter", "computer", "computer_use",
    "computer_use_preview", "custom", "file_search", "function", "image_generation", "local_shell", "mcp",
    "mcp_toolset", "memory", "namespace", "shell", "text_editor", "tool_search", "web_fetch", "web_search", "x_search",
))  # fmt: skip
