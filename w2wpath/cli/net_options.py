"""Options of `clean` for every setting of networks and of cleaning, in the groups of its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(panel: str, help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel)


def _switch(panel: str, name: str, help: str) -> Any:
    return _option(panel, help, f"--{name}/--no-{name}")


_NET, _TRAIN, _STOP = "Network", "Training", "When training stops"
_JUDGE, _RUN = "What is excluded", "How it is worked on"

Preset = Annotated[
    str | None,
    _option(_NET, "recommended, or paper: W2WNet as published. Other flags win over it. [default: recommended]"),
]
Backbone = Annotated[str | None, _option(_NET, "Any timm model, or conv5. [default: densenet121]")]
Stem = Annotated[
    str | None,
    _option(_NET, "imagenet, or small (3 x 3, no pooling) for tiles below 64 px. [default: imagenet]"),
]
Weights = Annotated[
    Path | None,
    _option(_NET, "Pretrained weights (safetensors) to begin with. Random without; none is fetched."),
]
LowPassSigma = Annotated[
    float | None, _option(_NET, "Fixed Gaussian before the network, in px: a rival of the study, not for a model.")
]
DropoutRate = Annotated[float | None, _option(_NET, "MC dropout rate of Wise. [default: 0.3]")]
DropoutKind = Annotated[str | None, _option(_NET, "element or channel. [default: element]")]
DropoutScope = Annotated[
    str | None, _option(_NET, "Where Wise drops: all layers, no-conv, or head. [default: no-conv]")
]
DropoutLogits = Annotated[bool | None, _switch(_NET, "dropout-logits", "Drop logits too. [default: False]")]
MaskBatch = Annotated[int | None, _option(_NET, "Tiles that share a dropout mask in a pass. [default: 16]")]
Draws = Annotated[int | None, _option(_NET, "MC passes of the exact uncertainty. [default: 25]")]

MaxEpochs = Annotated[int | None, _option(_TRAIN, "Most epochs a Wise may train. [default: 100]")]
WipedEpochs = Annotated[int | None, _option(_TRAIN, "Epochs of Wiped, in train. [default: 100]")]
BatchSize = Annotated[int | None, _option(_TRAIN, "Tiles per training step. [default: 64]")]
MicroBatch = Annotated[
    int | None, _option(_TRAIN, "Tiles at a time, if the device's memory is short; gradients add up.")
]
Lr = Annotated[float | None, _option(_TRAIN, "Learning rate. [default: 0.05]")]
Momentum = Annotated[float | None, _option(_TRAIN, "Momentum of SGD. [default: 0.9]")]
WeightDecay = Annotated[float | None, _option(_TRAIN, "Weight decay of SGD. [default: 0.001]")]
Schedule = Annotated[
    str | None, _option(_TRAIN, "Learning rate over the epochs: cosine or constant. [default: cosine]")
]
Augment = Annotated[str | None, _option(_TRAIN, "flips, flips+stain, mirror or none. [default: flips+stain]")]
Standardise = Annotated[
    bool | None,
    _switch(_TRAIN, "standardise", "Divide by each channel's standard deviation. [default: True]"),
]

Tracker = Annotated[
    str | None,
    _option(
        _STOP,
        "What the stop rule follows: ema, the average of the training forwards, or exact MC passes after an "
        "epoch. [default: ema]",
    ),
]
TrackEvery = Annotated[int | None, _option(_STOP, "Epochs between exact measurements. [default: 1]")]
EmaDecay = Annotated[float | None, _option(_STOP, "Decay of the average of the training forwards. [default: 0.9]")]
StopRule = Annotated[
    str | None, _option(_STOP, "What must be stable: size or membership of the two groups. [default: size]")
]
MedianWindow = Annotated[int | None, _option(_STOP, "Measurements that the median spans. [default: 11]")]
StdWindow = Annotated[int | None, _option(_STOP, "Epochs that must be stable. [default: 40]")]
StdBelow = Annotated[float | None, _option(_STOP, "Stable is below this. [default: 0.01]")]

Folds = Annotated[int | None, _option(_JUDGE, "Patient-grouped folds. [default: 5]")]
LabelWeight = Annotated[
    float | None,
    _option(_JUDGE, "Weight of the label's Brier score in the score; 0 is the paper. [default: 1.0]"),
]
Split = Annotated[str | None, _option(_JUDGE, "How scores are cut in two: exact or kmeans++. [default: exact]")]
SecondReader = Annotated[
    str | None, _option(_JUDGE, "Who doubts labels beside Wise: forest (colour and texture) or none. [default: forest]")
]
Balanced = Annotated[
    bool | None, _switch(_JUDGE, "balanced", "Read labels as if classes were equally frequent. [default: True]")
]
DoubtBelow = Annotated[
    str | None,
    _option(
        _JUDGE,
        "Exclude only where the label's mean probability is below this share of what is usual in its class; none: "
        "every tile of the high group. "
        "[default: 0.6]",
    ),
]
OutOfFoldVeto = Annotated[
    bool | None,
    _switch(
        _JUDGE,
        "out-of-fold-veto",
        "Undecided, not excluded: tiles whose label the network that never saw the patient is sure of. [default: True]",
    ),
]
MinSeparation = Annotated[
    str | None,
    _option(_JUDGE, "Exclude nothing unless the valley between the groups is this deep, 0 to 1; none: always cut."),
]
Quality = Annotated[bool | None, _switch(_JUDGE, "quality", "Judge focus, background and colour too. [default: True]")]
Threshold = Annotated[
    str | None,
    _option(_JUDGE, "When unseen tiles are uncertain: above the quantile or the centroid. [default: quantile]"),
]
FlagShare = Annotated[float | None, _option(_JUDGE, "Share of the kept tiles that the quantile flags. [default: 0.05]")]
Controls = Annotated[
    str | None,
    _option(
        _JUDGE,
        "Share of the training tiles, like 2%, that known faults replace, to tell how many of them are found. "
        "[default: 0.0]",
    ),
]

Seed = Annotated[int | None, _option(_RUN, "Seed of folds and networks. [default: 0]")]
Device = Annotated[str | None, _option(_RUN, "auto, cpu, cuda or mps. [default: auto]")]
Precision = Annotated[
    str | None,
    _option(_RUN, "auto, fp32 or bf16; auto takes bf16 where the device computes in it. [default: auto]"),
]
Compile = Annotated[bool | None, _switch(_RUN, "compile", "Compile networks; worth it on a GPU. [default: False]")]
LoaderWorkers = Annotated[
    int | None, _option(_RUN, "Processes that prepare batches; 0 prepares them in a thread. [default: 0]")
]
Workers = Annotated[
    int,
    typer.Option(min=1, help="Processes that work on a fold each; process k takes the k-th GPU.", rich_help_panel=_RUN),
]
Scheduler = Annotated[
    str | None,
    _option(_RUN, "dask.distributed scheduler, like tcp://host:8786, whose workers take a fold each."),
]
Fold = Annotated[int | None, _option(_RUN, "Work on this fold only (1, 2, ...), for batch queues; then --collect.")]
Collect = Annotated[bool, _option(_RUN, "Work on no fold: join those that are done into decisions.", "--collect")]
Force = Annotated[
    bool,
    _option(_RUN, "Write decisions even if more than half of a class or patient is excluded.", "--force"),
]
RunName = Annotated[
    str | None,
    _option(_RUN, "Unfinished run to go on with. Without it: the newest of the same settings and tiles.", "--run"),
]
DryRun = Annotated[bool, _option(_RUN, "Tell tiles, folds and time; write nothing.", "--dry-run")]
