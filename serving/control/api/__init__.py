"""The control API over HTTP: typed bodies in, typed answers or problem details (RFC 9457) out.

Every refusal is a sentence and a hint, never a traceback, whatever was sent. What is done is `serving.control.service`,
`registry.service` and the operations; who listens, and where, is left to the process that runs the application.
"""

from serving.control.api.app import create_app
from serving.control.api.workshop import Workshop

__all__ = ["Workshop", "create_app"]
