"""Options of a run: their names, their values as text, and TOML files of them."""

from gigafcn.config.options import InferOptions, PlanOptions
from gigafcn.config.reading import read_config

__all__ = ["InferOptions", "PlanOptions", "read_config"]
