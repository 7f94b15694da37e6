"""The published study: its files and tables, import and export, and recomputation of its numbers."""
