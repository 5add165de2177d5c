"""Commands that regenerate the tables and pictures of the project; run from the top of a checkout."""
