"""The published tables and figures by name: how each stands, and how it is made of runs of ours.

``conf/paper`` and ``conf/figure`` hold what each shows, what trains it and what makes it; this room reads them, asks
``evaluation`` for the numbers and ``report`` for the pictures. It computes no number of its own.
"""
