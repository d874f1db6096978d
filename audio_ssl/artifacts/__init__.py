"""What stages leave in folders, with its reader and its writer."""
