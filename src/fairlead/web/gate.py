"""What stands before `/mcp`: who asks is known before anything is read."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from fairlead.errors import FairleadError
from fairlead.web.base import NodeView
from fairlead.web.problems import problem_of_error, problem_response

PRINCIPAL = "fairlead.principal"
"""Where an ASGI scope has who asks."""


class McpGate:
    """Hands requests on to the node's MCP endpoint, with who asks in their scope."""

    def __init__(self, node: NodeView) -> None:
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; a caller that is not known gets a problem document."""
        try:
            principal = self._node.identify(scope["headers"])
        except FairleadError as error:
            await problem_response(problem_of_error(error))(scope, receive, send)
            return
        scope[PRINCIPAL] = principal
        await self._node.mcp(scope, receive, send)
