"""One module per part of the page: report data in, a `Section` of sentences, tables and figures out."""
