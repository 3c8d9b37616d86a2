"""The command line: flags in, calls to the library, one line per problem out."""

from gigafcn.cli.app import main

__all__ = ["main"]
