"""The published study: its files and tables, import and export, and its numbers computed again."""
