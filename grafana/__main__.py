"""Write dashboards/*.json."""

from __future__ import annotations

from grafana.rendered import rendered

for path, text in rendered().items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    print(path)
