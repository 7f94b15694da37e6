"""The reproduction of the published study: figures, tables and a page."""
