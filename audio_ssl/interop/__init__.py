"""Exchange with other libraries' models and formats."""
