"""The dashboards, as code: ``python -m grafana`` writes dashboards/*.json, which is checked in.

One file has one dashboard; :mod:`grafana.panels` has the look that they share, :mod:`grafana.promql` how they ask, and
:mod:`grafana.limits` from where on something is red. Nothing here is part of the package that users install.
"""
