"""What every other package may use: errors, files, documents, settings, progress; imports nothing by itself."""
