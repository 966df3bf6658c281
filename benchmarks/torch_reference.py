"""One distillation step, the metric and classifier training in PyTorch, as a competent peer has it.

Written from NCFM's published recipe (Wang et al. 2025): classes one after the other in a Python
loop, a class's real images forwarded once without a graph, its synthetic images with one, one
optimiser step for all classes. Same shapes, network, augmentation, metric and precision as ours.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class ConvNet(nn.Module):
    """ConvNet-D3 of DatasetCondensation: conv 3x3, instance norm, ReLU, 2x2 average pooling."""

    def __init__(self, width: int, classes: int = 10, depth: int = 3, side: int = 32):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                # As DatasetCondensation and NCFM write instance norm.
                nn.GroupNorm(width, width, affine=True),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
            channels = width
        self.blocks = nn.Sequential(*layers)
        self.feature_dim = width * (side // 2**depth) ** 2
        self.last = nn.Linear(self.feature_dim, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """[n, 3, H, W] to [n, d]."""
        return self.blocks(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[n, 3, H, W] to logits."""
        return self.last(self.features(images))


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Pixels in [0, 1], or uint8, to the network's scale."""
    if images.dtype == torch.uint8:
        images = images.float().div_(255.0)
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images - mean) / std


def decode(stored: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """Cuts a mosaic into its tiles and up-samples them bilinearly."""
    n, channels, height, width = stored.shape
    small = stored.reshape(n, channels, factor, height // factor, factor, width // factor)
    small = small.permute(0, 2, 4, 1, 3, 5).reshape(
        n * factor**2, channels, height // factor, width // factor
    )
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)


@dataclasses.dataclass
class Draw:
    """The random numbers of DSA's color, crop and cutout for one class."""

    brightness: float
    saturation: float
    contrast: float
    shift: tuple[int, int]
    corner: tuple[int, int]

    @classmethod
    def new(cls, side: int = 32) -> Draw:
        """Strengths of DSA."""
        u, reach = torch.rand(3).tolist(), side // 8
        shift = torch.randint(-reach, reach + 1, (2,)).tolist()
        corner = (torch.randint(0, side + 1, (2,)) - side // 4).tolist()
        return cls(u[0] - 0.5, 2 * u[1], 0.5 + u[2], tuple(shift), tuple(corner))


def augment(draw: Draw, x: torch.Tensor) -> torch.Tensor:
    """Color, crop and cutout with one draw for the whole batch, as slices and padding."""
    x = x + draw.brightness
    mean = x.mean(1, keepdim=True)
    x = (x - mean) * draw.saturation + mean
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * draw.contrast + mean
    side, (rows, columns) = x.shape[-1], draw.shift
    reach = side // 8
    x = F.pad(x, (reach,) * 4)
    x = x[:, :, reach + rows : reach + rows + side, reach + columns : reach + columns + side]
    mask = torch.ones(1, 1, side, side, device=x.device)
    (top, left), hole = draw.corner, side // 2
    mask[:, :, max(top, 0) : max(top + hole, 0), max(left, 0) : max(left + hole, 0)] = 0
    return x * mask


def spectrum(features: torch.Tensor, frequencies: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Real and imaginary part of the characteristic function."""
    phases = features @ frequencies.T
    return torch.cos(phases).mean(0), torch.sin(phases).mean(0)


def discrepancy(
    real: tuple[torch.Tensor, ...], synthetic: tuple[torch.Tensor, ...], alpha: float
) -> torch.Tensor:
    """`mean alpha (|R| - |S|)^2 + (1 - alpha) 2 (|R||S| - Re(R conj S))`."""
    (a, b), (c, d) = real, synthetic
    square = (a - c) ** 2 + (b - d) ** 2
    amplitude = (torch.sqrt(a * a + b * b + 1e-30) - torch.sqrt(c * c + d * d + 1e-30)) ** 2
    return ((1 - alpha) * square + (2 * alpha - 1) * amplitude).mean()


def sdd_loss(
    real: torch.Tensor, synthetic: torch.Tensor, frequencies: torch.Tensor, alpha: float = 0.5
) -> torch.Tensor:
    """The loss of one class; no graph for the real side unless it asks for one."""
    return discrepancy(spectrum(real, frequencies), spectrum(synthetic, frequencies), alpha)


class Step:
    """Matching of all classes: `step()` makes one update of the synthetic images.

    Args:
        images: uint8 [N, 3, 32, 32], class after class.
        counts: images per class.
        ipc: stored synthetic images per class.
        width: of the ConvNet.
        batch: largest real batch per class.
        frequencies: number T.
        device: "cpu" or "cuda".
        autocast: bfloat16 for the networks' forward and backward passes.
    """

    def __init__(
        self,
        images: torch.Tensor,
        counts: tuple[int, ...],
        *,
        ipc: int,
        width: int,
        batch: int,
        frequencies: int,
        device: str = "cpu",
        autocast: bool = False,
    ):
        self.device, self.counts, self.ipc, self.batch = device, counts, ipc, batch
        self.frequencies = frequencies
        self.autocast = autocast
        self.real = [part.to(device) for part in torch.split(images, list(counts))]
        self.pool = [
            [ConvNet(width).to(device).requires_grad_(False) for _ in range(2)] for _ in range(2)
        ]
        self.blended = ConvNet(width).to(device).requires_grad_(False)
        stored = torch.rand(len(counts) * ipc, 3, 32, 32, device=device)
        self.images = stored.requires_grad_(True)
        self.optimiser = torch.optim.AdamW([self.images], lr=1e-3, weight_decay=5e-4)
        self.alphas = [0.7 - 0.4 * c / max(len(counts) - 1, 1) for c in range(len(counts))]

    def __call__(self) -> float:
        """One step; returns the loss (which waits for the device)."""
        trained = self._draw()
        self.optimiser.zero_grad(set_to_none=True)
        t = torch.randn(self.frequencies, self.blended.feature_dim, device=self.device)
        total = torch.zeros((), device=self.device)
        for c in range(len(self.counts)):
            loss = self._class_loss(c, trained, t)
            loss.backward()
            total += loss.detach()
        self.optimiser.step()
        with torch.no_grad():
            self.images.clamp_(0.0, 1.0)
        return total.item()

    def _draw(self) -> ConvNet:
        """Interpolates one extractor with its initialisation; returns the trained one."""
        initial, trained = self.pool[torch.randint(len(self.pool), ()).item()]
        mix = torch.rand(()).item()
        with torch.no_grad():
            for out, first, last in zip(
                self.blended.parameters(), initial.parameters(), trained.parameters(), strict=True
            ):
                torch.lerp(last, first, mix, out=out)
        return trained

    def _class_loss(self, c: int, trained: ConvNet, t: torch.Tensor) -> torch.Tensor:
        draw, cast = Draw.new(), torch.autocast(self.device, torch.bfloat16, self.autocast)
        count = self.counts[c]
        with torch.no_grad(), cast:
            pick = self.real[c]
            if count > self.batch:
                pick = pick[torch.randperm(count, device=self.device)[: self.batch]]
            features = self.blended.features(augment(draw, normalise(pick)))
            real = spectrum(F.normalize(features.float()), t)
        stored = self.images[c * self.ipc : (c + 1) * self.ipc]
        with cast:
            synthetic = augment(draw, normalise(decode(stored)))
            features = self.blended.features(synthetic)
            logits = trained(synthetic)
        spectra = spectrum(F.normalize(features.float()), t)
        labels = torch.full((len(logits),), c, device=self.device)
        calibration = F.cross_entropy(logits.float(), labels)
        return 300.0 * discrepancy(real, spectra, self.alphas[c]) + calibration


def train(
    images: torch.Tensor, labels: torch.Tensor, width: int, epochs: int, batch: int
) -> ConvNet:
    """Trains one ConvNet with AdamW on uint8 or [0, 1] images; no augmentation."""
    net = ConvNet(width).to(images.device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=5e-4)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), device=images.device).split(batch):
            loss = F.cross_entropy(net(normalise(images[rows])), labels[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    return net


@torch.inference_mode()
def accuracy(net: ConvNet, images: torch.Tensor, labels: torch.Tensor, batch: int = 500) -> float:
    """Percent correct."""
    correct = sum(
        (net(normalise(pixels)).argmax(1) == truth).sum()
        for pixels, truth in zip(images.split(batch), labels.split(batch), strict=True)
    )
    return 100.0 * int(correct) / len(images)
