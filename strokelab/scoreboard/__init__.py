"""The scoreboard for masks of any tool: files are matched, scored in parallel, and end in tables and a report.

Knows NIfTI files and names; needs no model, no run folder and no torch. ``names`` says what a file name tells,
``matching`` which prediction belongs to which reference, ``masks`` how voxels become a mask, ``score`` makes the case
table of predictions against references, ``agreement`` that of two masks of which neither is the reference.
"""
