"""Reports: one self-contained HTML page and its JSON from runs, probe results and fairness audits; model cards."""
