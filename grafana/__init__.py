"""The dashboards as code: ``python -m grafana`` writes dashboards/*.json, which is checked in.

Each dashboard is one module. :mod:`grafana.panels` has their common look, :mod:`grafana.promql` builds the queries, and
:mod:`grafana.limits` has the values above which panels are red. The installed package contains none of this.
"""
