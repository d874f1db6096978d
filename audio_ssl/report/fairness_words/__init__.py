"""The sentences of the fairness page, in one place and in the terms of the field.

`differences` says one row of the report, `conclusions` what follows from it and what does not, `headline` all of them
in at most three lines, `methods` how the numbers were made and what the terms mean.
"""
