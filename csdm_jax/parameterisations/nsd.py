"""NSD (Yang et al. 2024): every spectrum tensor of a class is mapped by every one of its kernels.

A class of IPC images has IPC tensors `T_i`, `[r, r, ch]`, and f^2 kernels, pairs of matrices `A_j`,
`[H, r]`, and `B_j`, `[r, W]`; `X_ij = A_j T_i B_j` in each channel. IPC + f^2 stored things so
train as `f^2 IPC` images. The rank r is the largest multiple of f with which tensors and kernels
are no more numbers than the IPC images would be.

Before the first step T_i is a grid of f x f blocks, and A_j and B_j read block j: in it is a real
image in the leading r / f left and right singular directions of its class, those of the largest
sums of squares over its training images. It is the nearest image that has these directions alone.

Kernels are stored times sqrt(H) and sqrt(W), so that their numbers are of the size of one, and a
step of an optimiser that moves all numbers alike moves pixels through tensors and kernels alike.
No range of the numbers keeps pixels in [0, 1]: decoding cuts pixels to it, and a pixel that is cut
has no gradient.

Source: Yang, Cheng, Hong, Fan, Wei & Liu, "Neural Spectral Decomposition for Dataset
Distillation", ECCV 2024.
Deviations: tensors and kernels of a class are its own, none is shared between classes; the term
that guides by real distributions is left to the method of matching; pixels are cut to [0, 1].
Licence: none public.
Status: tested, not reproducible: the formula alone is public, `x_{j + (i - 1) M} = T_i * K_j`;
sizes, rank, first values and learning rates are ours.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.parameterisations.real import RealImages, by_class


def directions(squares: np.ndarray) -> np.ndarray:
    """Eigenvectors `[C, d, d]` of symmetric matrices `[C, d, d]`, in columns, the largest first."""
    return np.linalg.eigh(squares)[1][..., ::-1]


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class NSD:
    """Spectrum tensors of a class, all paired with its f^2 kernels.

    What is stored, all float32: `tensors` `[n, r, r, ch]`, `left` `[C, f^2, H, r]` and `right`
    `[C, f^2, r, W]`, the kernels.

    Args:
      factor: f, at least 1.
      bases: left and right directions of each class, `[C, H, H]` and `[C, W, W]`, in columns; None
        before `fit`.
    """

    factor: int
    bases: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def tiles(self) -> int:
        """Images that come of one tensor."""
        return self.factor**2

    def rank(self, image_shape: tuple[int, int, int], ipc: int) -> int:
        """The largest multiple of f with `ipc ch r^2 + f^2 (H + W) r <= ipc H W ch`.

        None is larger than a side, or it would say nothing more.
        """
        height, width, channels = image_shape
        square, linear = ipc * channels, self.tiles * (height + width)
        budget = square * height * width
        fitting = (r for r in range(min(height, width) + 1) if r * (square * r + linear) <= budget)
        return max(fitting) // self.factor * self.factor

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Every shape can be stored, of enough images: `check_ipc`."""

    def check_ipc(self, image_shape: tuple[int, int, int], ipc: int) -> None:
        """Raises a ValueError when kernels would leave no room for tensors."""
        if not self.rank(image_shape, ipc):
            height, width, _ = image_shape
            raise ValueError(
                f"nsd has no room for a rank of its factor {self.factor}: {self.tiles} kernels of "
                f"{height} + {width} numbers a rank in the room of {ipc} images a class; choose a "
                "smaller distill.factor or a larger distill.ipc"
            )

    def fit(self, real: RealImages) -> NSD:
        """The same with the directions of training images."""
        left, right = [], []
        for images in by_class(real):
            both = [
                (np.einsum("nhwc,nawc->ha", x, x, optimize=True),
                 np.einsum("nhwc,nhac->wa", x, x, optimize=True))
                for x in images
            ]  # fmt: skip
            left.append(sum(one for one, _ in both))
            right.append(sum(other for _, other in both))
        bases = directions(np.stack(left)), directions(np.stack(right))
        return dataclasses.replace(self, bases=bases)

    def encode(self, images: jax.Array) -> dict[str, jax.Array]:
        """Tensors and kernels of `[n f^2, H, W, ch]`, as many of each class.

        Raises:
          ValueError: before `fit`.
        """
        if self.bases is None:
            raise ValueError("nsd has no bases yet: fit it to training images, as a Context does")
        f, classes = self.factor, len(self.bases[0])
        _, height, width, channels = images.shape
        ipc = len(images) // (classes * self.tiles)
        part = self.rank((height, width, channels), ipc) // f
        left, right = (np.asarray(basis[:, :, :part], np.float32) for basis in self.bases)
        each = images.reshape(classes, ipc, f, f, *images.shape[1:])
        blocks = jnp.einsum("chp,ciabhwk,cwq->ciapbqk", left, each, right, precision="highest")
        # Kernel j = (a, b) reads rows of block a and columns of block b.
        one = np.eye(f)
        rows = np.einsum("chp,ad,b->cabhdp", left, one, np.ones(f))
        columns = np.einsum("cwq,bd,a->cabdqw", right, one, np.ones(f))
        shape, rank = (classes, self.tiles), f * part
        stored = {
            "tensors": blocks.reshape(classes * ipc, rank, rank, channels),
            "left": math.sqrt(height) * rows.reshape(*shape, height, rank),
            "right": math.sqrt(width) * columns.reshape(*shape, rank, width),
        }
        return {name: jnp.asarray(array, jnp.float32) for name, array in stored.items()}

    def decode(self, stored: dict[str, jax.Array]) -> jax.Array:
        """The images `[n f^2, H, W, ch]` in [0, 1]: all pairs of a class, cut."""
        tensors, left, right = (stored[name] for name in ("tensors", "left", "right"))
        classes, _, height, _ = left.shape
        width, channels = right.shape[-1], tensors.shape[-1]
        each = tensors.reshape(classes, -1, *tensors.shape[1:])
        images = jnp.einsum("cjhp,cipqk,cjqw->cijhwk", left, each, right, precision="highest")
        images = images.reshape(-1, height, width, channels) / math.sqrt(height * width)
        return jnp.clip(images, 0.0, 1.0)

    def project(self, stored: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """All as it is: any number may be stored."""
        return stored
