"""The built-in network for small tiles: five convolutions."""

from __future__ import annotations

from torch import Tensor, nn

CHANNELS = (32, 32, 64, 64, 128)
POOLED_AFTER = (2, 4)
"""Convolutions, counted from 1, that a pooling follows; tiles above ``LARGE_PX`` are pooled after the first too."""
LARGE_PX = 40


class Conv5(nn.Module):
    """Five 3 x 3 convolutions with BatchNorm and ReLU, two or three poolings, the mean over space, one linear layer.

    Made for tiles of about 14 to 64 px, where one of 28 px costs 22 million multiplications. Input (n, 3, tile_px,
    tile_px) float, output logits (n, n_classes).
    """

    def __init__(self, n_classes: int, tile_px: int) -> None:
        super().__init__()
        pooled = (1, *POOLED_AFTER) if tile_px > LARGE_PX else POOLED_AFTER
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(zip((3, *CHANNELS), CHANNELS, strict=False), start=1):
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            if number in pooled:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(CHANNELS[-1], n_classes)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits."""
        return self.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, n_classes) of images (n, 3, tile_px, tile_px)."""
        logits: Tensor = self.classifier(self.global_pool(self.features(images)).flatten(1))
        return logits
