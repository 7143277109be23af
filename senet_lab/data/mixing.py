"""Mixup and CutMix: training images and their labels mixed in pairs."""

import numpy as np
import torch
from torch import Tensor

from senet_lab.data.moves import in_boxes, to_device


class Mixing:
    """Mixing of each image of a batch with the previous one, and of the first with the last.

    Batches are in random order, so partners are random. Every image draws its own share.

    Args:
        mixup: α of the Beta(α, α) distribution of an image's weight (Zhang et al., arXiv 1710.09412); 0 for
            none.
        cutmix: α of the Beta(α, α) distribution of the area outside the box that comes from the partner (Yun
            et al., arXiv 1905.04899); 0 for none. With both, each image gets one of them at random.
    """

    columns = 6
    """Numbers drawn per image: weights of its pixels and of its label (float32 bits), and a box."""

    def __init__(self, mixup: float, cutmix: float) -> None:
        self.mixup = mixup
        self.cutmix = cutmix

    def draw(self, count: int, image_size: int, generator: torch.Generator) -> Tensor:
        """Shares and boxes of `count` images, int32 (count, 6) on the CPU."""
        numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        coin = torch.rand(count, generator=generator)
        cut = coin < (0.5 if self.mixup and self.cutmix else float(bool(self.cutmix)))
        shares = [
            torch.from_numpy(numbers.beta(alpha, alpha, count)) if alpha else torch.ones(count).double()
            for alpha in (self.mixup, self.cutmix)
        ]
        share = torch.where(cut, shares[1], shares[0])
        # A box around a random pixel, with the area that the share gives, clipped at the image's border.
        side = (image_size * (1 - share).sqrt()).floor()
        centre = (torch.rand(2, count, generator=generator, dtype=torch.float64) * image_size).floor()
        start = (centre - (side / 2).floor()).clamp(min=0)
        end = (centre + (side / 2).floor()).clamp(max=image_size)
        height, width = torch.where(cut, end - start, 0)
        share = torch.where(cut, 1 - height * width / image_size**2, share)
        weights = torch.stack([torch.where(cut, 1, share), share], dim=1).float().view(torch.int32)
        box = torch.stack([start[0], start[1], height, width], dim=1).to(torch.int32)
        return torch.cat([weights, box], dim=1)

    def __call__(
        self, images: Tensor, labels: Tensor, drawn: Tensor, num_classes: int
    ) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: float32 (B, 3, H, H).
            labels: int64 (B,).
            drawn: int32 (B, 6), as `draw` gives them for these images.
            num_classes: K.

        Returns:
            Images of the same shape and dtype, and labels as class shares, float32 (B, K).
        """
        drawn = to_device(drawn, images.device)
        weights = drawn[:, :2].contiguous().view(torch.float32)
        partners = images.roll(1, dims=0)
        if self.mixup:
            images = torch.lerp(partners, images, weights[:, :1, None, None])
        if self.cutmix:
            images = torch.where(in_boxes(drawn[:, 2:], images.shape[2]), partners, images)
        shares = (labels[:, None] == torch.arange(num_classes, device=labels.device)).float()
        return images, torch.lerp(shares.roll(1, dims=0), shares, weights[:, 1:])
