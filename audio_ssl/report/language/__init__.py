"""The sentences of pages, in one place and in the terms of the field.

`fairness` says one row of the report, `conclusions` what follows from it and what does not, and all of it in at most
three lines, `methods` how the numbers were made and what the terms mean. `probes`, `study` and `composition` have the
sentences of the other pages.
"""
