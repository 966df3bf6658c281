"""How SDD is estimated, and which way costs less."""

from __future__ import annotations

from csdm_jax.metric.kernels import DIFFERENCE_COST, GramFunction

ESTIMATORS = ("spectral", "exact", "auto")


def cheaper_estimator(
    real_sizes: tuple[int, ...] | None,
    synthetic_sizes: tuple[int, ...] | None,
    num_frequencies: int,
    kernel: GramFunction | None = None,
) -> str:
    """The estimator of `sdd_loss` whose products are fewer for SDD itself.

    Rows n_c and m_c of a class meet the T frequencies in `T (n_c + m_c)` inner products, and each
    other in `n_c m_c + n_c (n_c + 1) / 2 + m_c (m_c + 1) / 2` entries of Gram matrices. One that
    sums differences counts as 16 products, the Laplace kernel's as 128. The amplitude is not in the
    account: where alpha is not 1/2, "exact" projects on the frequencies too, and so costs at most
    twice as much as "spectral" when it is chosen.

    Args:
        real_sizes: rows n_c of each class; None where they are not known, as under `jax.export`.
        synthetic_sizes: rows m_c of each class.
        num_frequencies: T.
        kernel: of the Gram matrices; one of matrix products if left out.

    Returns:
        "exact" or "spectral"; "spectral" where sizes are not known.

    >>> cheaper_estimator((1024, 50), (40, 40), 4096)
    'exact'
    >>> cheaper_estimator((100_000,), (100_000,), 4096)
    'spectral'
    """
    sizes = (*(real_sizes or ()), *(synthetic_sizes or ()))
    if not (real_sizes and synthetic_sizes and all(isinstance(size, int) for size in sizes)):
        return "spectral"
    entries = sum(
        n * m + (n * (n + 1) + m * (m + 1)) // 2
        for n, m in zip(real_sizes, synthetic_sizes, strict=True)
    )
    cost = 1.0 if kernel is None else getattr(kernel, "gram_cost", DIFFERENCE_COST)
    return "exact" if cost * entries <= num_frequencies * sum(sizes) else "spectral"
