"""`--protocol`: whom to follow where the paper and the authors' released code differ (method.md). No torch here.

| | paper | released |
|---|---|---|
| gamma-, SDXL | 1 | 0.1 |
| training steps | Table 11: 100,000; SDXL 1,000 | epochs of COCO: 20; SDXL 1, SD3 10 |
| SoftREPA's tokens on SD1.5 | down and mid blocks | down blocks |
| unconditional half of CFG, SDXL | psi+ | psi- |
| SoftREPA's time embedding when sampling SD3 | as trained | random: its code stores it where nothing reads it |
| saved images | as decoded, clamped | `official-minmax`: each stretched to its own range |

Flags given by hand win. The same in both: the released normalisation of the reward (Algorithm 1 as printed is
`--reduction sum --temperature 1`; it is no part of the switch, as it would change what every default run trains, those
of the shapes domain included), training at 512 pixels. Never followed: a seed set once a run, which makes images
depend on the batch size, and the faults of the released training (EMA of another start, of frozen weights, losses of
chunks that are added up).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Protocol = Literal["paper", "released"]
Saving = Literal["clamp", "official-minmax"]
Polarity = Literal["positive", "negative"]

_STEPS_OF_AN_EPOCH = 118_287 // 4
"""Images of COCO train2017 over the released batch."""


def training_defaults(protocol: Protocol, trainer: str, backbone: str) -> Mapping[str, Any]:
    """The released code's defaults of a training, by the names of its options, where they are not the paper's.

    Its number of epochs is a bound: it keeps the tokens of every validation, as `--keep-every` does.
    """
    if protocol == "paper":
        return {}
    defaults: dict[str, Any] = {}
    epochs = {"sd15": 20, "sdxl": 1, "sd3": 10}
    if backbone in epochs:
        defaults["steps"] = epochs[backbone] * _STEPS_OF_AN_EPOCH
    if backbone == "sdxl":
        defaults["gamma_negative"] = 0.1
    if (trainer, backbone) == ("softrepa", "sd15"):
        defaults["apply"] = "down"
    return defaults


def unconditional_polarity(protocol: Protocol, backbone: str, polarities: int) -> Polarity:
    """Of the tokens in the unconditional half of CFG (paper Table 5), for tokens with so many polarities."""
    return "negative" if protocol == "released" and backbone == "sdxl" and polarities == 2 else "positive"


def forgets_time_embedding(protocol: Protocol, trainer: str, backbone: str) -> bool:
    """Whether sampling goes on with a time embedding that was never trained (SoftREPA's sample.py on SD3)."""
    return protocol == "released" and (trainer, backbone) == ("softrepa", "sd3")


def saving(protocol: Protocol) -> Saving:
    """How decoded images become pixels."""
    return "official-minmax" if protocol == "released" else "clamp"
