"""The sentences of pages, in one place and in the terms of the field.

`fairness` says one row of an audit, `fairness_cells` what tables and figures write of it, `fairness_page` what stands
around them. `conclusions` says what follows and what does not, and all of it in at most three lines. `methods` says how
the numbers were made and what the terms mean, `representation` how well layers predict an attribute. The other files
have the sentences of the other pages, and `phrases` what several pages share.
"""
