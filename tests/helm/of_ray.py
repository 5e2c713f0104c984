"""What the tests of the chart read of Ray and of the application on it. Importing Ray warns of its own past."""

import inspect
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray.dashboard import http_server_agent, http_server_head
    from ray.scripts.scripts import start
    from ray.serve.schema import ServeDeploySchema

    from serving import graph

__all__ = ["AGENT_PATHS", "START_OPTIONS", "ServeDeploySchema", "graph", "head_answers"]

AGENT_PATHS = frozenset(http_server_agent.PUBLIC_EXACT_PATHS)
"""What a node's agent answers without the token."""
START_OPTIONS = frozenset(str(parameter.name).replace("_", "-") for parameter in start.params)
"""What `ray start` takes."""


def head_answers(path: str) -> bool:
    """Whether the dashboard answers that without the token; its list stands inside a function."""
    listed = inspect.getsource(http_server_head).partition("public_exact_paths = {")[2].partition("}")[0]
    return f'"{path}",' in listed
