"""A pool of costly things: its bounds, its slots, and what goes on in them."""

from fairlead.core.pool.options import PoolOptions, PoolStatistics
from fairlead.core.pool.pool import ResourcePool

__all__ = ["PoolOptions", "PoolStatistics", "ResourcePool"]
