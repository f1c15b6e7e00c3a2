"""Fairlead: a self-hosted backend that makes AI coding assistants fast, cheap and dependable.

The parts that the server is built from are here under their public names, loaded when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairlead.conversations.database import ConversationDatabase
    from fairlead.conversations.inputs import MessageInput
    from fairlead.conversations.memory import MemoryThreadStore
    from fairlead.conversations.options import DatabaseOptions, WriterOptions
    from fairlead.conversations.records import Viewer
    from fairlead.conversations.sqlite import SqliteThreadStore
    from fairlead.conversations.writer import BatchedThreadWriter
    from fairlead.core.pool import PoolOptions, ResourcePool
    from fairlead.gateway.caching import CacheOptions
    from fairlead.gateway.responses import ModelResponseCache
    from fairlead.traffic.admission import QueueOptions
    from fairlead.traffic.balancer import SessionAwareLoadBalancer
    from fairlead.traffic.base import BalancerOptions, Server
    from fairlead.traffic.queue import AdaptiveQueueManager
    from fairlead.workspace.analyses import SqliteAnalysisStore
    from fairlead.workspace.fileoptions import FileCacheOptions
    from fairlead.workspace.files import FileSystemCache
    from fairlead.workspace.mapoptions import RepositoryOptions
    from fairlead.workspace.repository import RepositoryAnalysisCache
    from fairlead.workspace.search import SearchQuery

_HOMES = {
    "AdaptiveQueueManager": "fairlead.traffic.queue",
    "BalancerOptions": "fairlead.traffic.base",
    "BatchedThreadWriter": "fairlead.conversations.writer",
    "CacheOptions": "fairlead.gateway.caching",
    "ConversationDatabase": "fairlead.conversations.database",
    "DatabaseOptions": "fairlead.conversations.options",
    "FileCacheOptions": "fairlead.workspace.fileoptions",
    "FileSystemCache": "fairlead.workspace.files",
    "MemoryThreadStore": "fairlead.conversations.memory",
    "MessageInput": "fairlead.conversations.inputs",
    "ModelResponseCache": "fairlead.gateway.responses",
    "PoolOptions": "fairlead.core.pool",
    "QueueOptions": "fairlead.traffic.admission",
    "RepositoryAnalysisCache": "fairlead.workspace.repository",
    "RepositoryOptions": "fairlead.workspace.mapoptions",
    "ResourcePool": "fairlead.core.pool",
    "SearchQuery": "fairlead.workspace.search",
    "Server": "fairlead.traffic.base",
    "SessionAwareLoadBalancer": "fairlead.traffic.balancer",
    "SqliteAnalysisStore": "fairlead.workspace.analyses",
    "SqliteThreadStore": "fairlead.conversations.sqlite",
    "Viewer": "fairlead.conversations.records",
    "WriterOptions": "fairlead.conversations.options",
}

__all__ = [
    "AdaptiveQueueManager",
    "BalancerOptions",
    "BatchedThreadWriter",
    "CacheOptions",
    "ConversationDatabase",
    "DatabaseOptions",
    "FileCacheOptions",
    "FileSystemCache",
    "MemoryThreadStore",
    "MessageInput",
    "ModelResponseCache",
    "PoolOptions",
    "QueueOptions",
    "RepositoryAnalysisCache",
    "RepositoryOptions",
    "ResourcePool",
    "SearchQuery",
    "Server",
    "SessionAwareLoadBalancer",
    "SqliteAnalysisStore",
    "SqliteThreadStore",
    "Viewer",
    "WriterOptions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fairlead' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
