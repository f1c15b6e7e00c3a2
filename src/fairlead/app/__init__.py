"""The composition root: settings in, an opened node out, run in one process or several."""

from fairlead.app.node import Node
from fairlead.app.process import serve

__all__ = ["Node", "serve"]
