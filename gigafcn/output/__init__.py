"""Maps on disk: layout, shards, pyramid, metadata, and a picture for a first look."""

from gigafcn.output.disk import format_bytes, free_bytes
from gigafcn.output.metadata import finish_map
from gigafcn.output.opening import StoredMap, open_map
from gigafcn.output.palette import colours_for
from gigafcn.output.pyramid import build_pyramid_shard
from gigafcn.output.sizing import choose_chunk, choose_shard
from gigafcn.output.spec import (
    MapLevel,
    MapSpec,
    count_objects,
    map_levels,
    pyramid_shards,
    pyramid_tasks,
    source_shards,
    status_slices,
    store_bytes,
)
from gigafcn.output.store import ChunkStatus, MapStore, create_map, empty_status

__all__ = [
    "ChunkStatus",
    "MapLevel",
    "MapSpec",
    "MapStore",
    "StoredMap",
    "build_pyramid_shard",
    "choose_chunk",
    "choose_shard",
    "colours_for",
    "count_objects",
    "create_map",
    "empty_status",
    "finish_map",
    "format_bytes",
    "free_bytes",
    "map_levels",
    "open_map",
    "pyramid_shards",
    "pyramid_tasks",
    "source_shards",
    "status_slices",
    "store_bytes",
]
