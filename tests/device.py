"""The device that tests of device memory run on: CUDA where there is one, else the CPU in its place."""

import numpy as np
import torch

from codec import DeviceFrame, Frame, KVArray
from kvstore import DeviceTier
from kvstore.device_copies import DeviceCopies

HAS_CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if HAS_CUDA else torch.device("cpu")


def on_device(frame):
    """The frame as a device tier would have it, at an address that nothing is aligned to."""
    data = torch.empty(len(frame) + 1, dtype=torch.uint8, device=DEVICE)[1:]
    return DeviceFrame(Frame(frame).header, data.copy_(torch.from_numpy(np.frombuffer(frame, np.uint8).copy())))


def to_cpu(kv):
    return KVArray(kv.spec, tuple(keys.cpu() for keys in kv.keys), tuple(values.cpu() for values in kv.values))


def copying_tier(capacity_bytes, **options):
    """A tier that treats its device as one that the host cannot reach into, even where that is the CPU."""
    tier = DeviceTier(capacity_bytes, DEVICE, **options)
    if not HAS_CUDA:
        tier._copies = DeviceCopies(DEVICE)
    return tier
