"""deploy/grafana/dashboards/batchwright.json: Grafana's dashboard, made of panels.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.reference.panels import ROWS, Panel

_WIDTH, _HEIGHT = 8, 8  # three panels side by side; Grafana's screen is 24 wide
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def page() -> str:
    """The file."""
    panels = list(_panels())
    dashboard = {
        "uid": "batchwright",
        "title": "Batchwright",
        "tags": ["batchwright"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    found = {
        "provider": "label_values(batchwright_call_slots, provider)",
        "process": "label_values(batchwright_process_resident_bytes, process)",
    }
    return [
        source,
        *(
            {
                "name": name,
                "label": name.capitalize(),
                "type": "query",
                "datasource": _SOURCE,
                "query": {"query": query, "refId": name},
                "definition": query,
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            }
            for name, query in found.items()
        ),
    ]


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
        }
        top += 1
        for place, panel in enumerate(panels):
            number += 1
            x, y = place % 3 * _WIDTH, top + place // 3 * _HEIGHT
            yield _panel(number, panel) | {"gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT}}
        top += -(-len(panels) // 3) * _HEIGHT


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 20 if panel.stacked else 5, "showPoints": "never"}
    custom |= {"stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"}}
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.means,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for place, (legend, expr) in enumerate(panel.lines.items())
        ],
    }
