"""The graph of a chain in the format of python-workflow-definition, which other workflow programs read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asediff.host.files import write_whole, writing
from asediff.workflow.chain import Chain
from asediff.workflow.stages import stage

VERSION = "0.1.0"
FUNCTIONS = "asediff.workflow.stages.nodes"
LIST = "python_workflow_definition.shared.get_list"
"""The node by which that format gathers several values in one argument."""


def definition(chain: Chain, project: Path) -> dict[str, Any]:
    """Nodes and edges: each stage is a function of its settings, its folder and the folders of its parents.

    Args:
        chain: stages.
        project: folder of their folders, as the nodes will be given it.

    Returns:
        Plain data; the one output is the folder of the last stage.
    """
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []

    def add(**node: Any) -> int:
        nodes.append({"id": len(nodes), **node})
        return len(nodes) - 1

    def connect(source: int, target: int, port: str | None) -> None:
        edges.append({"target": target, "targetPort": port, "source": source, "sourcePort": None})

    ids: dict[str, int] = {}
    for node in chain.nodes:
        ids[node.name] = own = add(type="function", value=f"{FUNCTIONS}.{node.kind}")
        values = {"settings": dict(node.settings), "folder": str(project / node.folder)}
        for name, value in values.items():
            connect(add(type="input", name=f"{node.name}_{name}", value=value), own, name)
        for role, names in node.parents.items():
            if not stage(node.kind).roles[role].many:
                connect(ids[names[0]], own, role)
                continue
            gathered = add(type="function", value=LIST)
            for k, name in enumerate(names):
                connect(ids[name], gathered, str(k))
            connect(gathered, own, role)
    connect(ids[chain.nodes[-1].name], add(type="output", name="result"), None)
    return {"version": VERSION, "nodes": nodes, "edges": edges}


def write_definition(chain: Chain, project: Path, path: Path) -> Path:
    """Write the graph as JSON; returns the path.

    Raises:
        FileError: the system refused.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(definition(chain, project), indent=1, ensure_ascii=False) + "\n").encode())
    return path
