"""Where the parts of an extraction run. A file is an engine; each has a ``run(job, begin)``."""
