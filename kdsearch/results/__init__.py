"""What a search leaves behind: best.json, the store of best configurations, tables, TensorBoard runs."""
