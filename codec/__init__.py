"""KV tensors to checked bytes and back. Knows no keys, no disks, no engines."""

from codec.cachegen import CacheGen
from codec.chunk import bytes_needed, decode_chunk, decode_chunk_on_device, decode_layers, encode_chunk
from codec.codec import Codec, LayerCodec, identity_of
from codec.device_frame import DeviceFrame
from codec.errors import CorruptFrame, KVCacheError, MissingProfile, SpecMismatch, UnknownCodec
from codec.frame import Frame, FrameHeader, read_header, read_identity
from codec.int4 import Int4
from codec.int8 import Int8
from codec.kv_array import KVArray
from codec.lossless import Lossless
from codec.profile import Profile
from codec.profiles import register, registered
from codec.registry import codec_class, codec_from
from codec.rotary import Rotary, UnsupportedRotary, rotary_of_layers
from codec.spec import KVSpec, LayerGroup
from codec.transform import Transform

__all__ = [
    "CacheGen",
    "Codec",
    "CorruptFrame",
    "DeviceFrame",
    "Frame",
    "FrameHeader",
    "Int4",
    "Int8",
    "KVArray",
    "KVCacheError",
    "KVSpec",
    "LayerCodec",
    "LayerGroup",
    "Lossless",
    "MissingProfile",
    "Profile",
    "Rotary",
    "SpecMismatch",
    "Transform",
    "UnknownCodec",
    "UnsupportedRotary",
    "bytes_needed",
    "codec_class",
    "codec_from",
    "decode_chunk",
    "decode_chunk_on_device",
    "decode_layers",
    "encode_chunk",
    "identity_of",
    "read_header",
    "read_identity",
    "register",
    "registered",
    "rotary_of_layers",
]
