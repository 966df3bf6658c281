"""A grid of configurations, gathered into one table and one plot: `csdm_jax.sweep`, from anywhere.

  python launch/sweep.py --config=configs/digits_lt.py --out=runs/sweep --jobs=2 \
    --sweep='config.sdd.scale=0.3,1,3' -- --config.distill.seeds=0,1
"""

import sys

from csdm_jax.sweep import main

if __name__ == "__main__":
    sys.exit(main())
